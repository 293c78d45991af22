-- A schedule is changed at run time. ARGV from 4: what, then `remove`: name; `rest`: whether, then for
-- each schedule: field, next tick ('' for none); `run`: field, then the job as in workflow.lua,
-- without a key. Answers with 1 or 0.
local what = ARGV[4]
if what == 'remove' then
    local found = 0
    for _, field in ipairs(call('HKEYS', P .. 'rules')) do
        local at = field:find('\0', 1, true)
        if sub(field, at + 1) == ARGV[5] then
            found = 1
            for _, of in ipairs({ 'rules', 'schedules', 'fired' }) do call('HDEL', P .. of, field) end
            call('ZREM', P .. 'ticks', field)
            call('SREM', P .. 'resting', field)
        end
    end
    return done(AGAIN and 1 or found)
end
if what == 'rest' then
    for at = 6, #ARGV, 2 do
        local field = ARGV[at]
        if call('HEXISTS', P .. 'rules', field) == 1 then
            if ARGV[5] == '1' then
                call('SADD', P .. 'resting', field)
                call('ZREM', P .. 'ticks', field)
            elseif call('SREM', P .. 'resting', field) == 1 and ARGV[at + 1] ~= '' then
                call('ZADD', P .. 'ticks', ARGV[at + 1], field)
            end
        end
    end
    return done(1)
end
if call('EXISTS', J(ARGV[6])) == 1 then return unchanged(1) end
write_template(6)
call('HSET', P .. 'fired', ARGV[5], ARGV[6] .. NOWS)
return done(1)
