-- ARGV from 4: owner, whether its other schedules are left alone, then for each schedule: name, rule,
-- record, next tick ('' for none).
local owner = ARGV[4] .. '\0'
local kept = {}
for at = 6, #ARGV, 4 do
    local field = owner .. ARGV[at]
    kept[field] = true
    if call('HGET', P .. 'rules', field) ~= ARGV[at + 1] then
        call('HSET', P .. 'rules', field, ARGV[at + 1])
        if ARGV[at + 3] == '' then
            call('ZREM', P .. 'ticks', field)
        elseif call('SISMEMBER', P .. 'resting', field) == 0 then
            call('ZADD', P .. 'ticks', ARGV[at + 3], field)
        end
    end
    call('HSET', P .. 'schedules', field, ARGV[at + 2])
end
if ARGV[5] == '1' then return done() end
for _, field in ipairs(call('HKEYS', P .. 'rules')) do
    if sub(field, 1, #owner) == owner and not kept[field] then
        for _, of in ipairs({ 'rules', 'schedules', 'fired' }) do call('HDEL', P .. of, field) end
        call('ZREM', P .. 'ticks', field)
        call('SREM', P .. 'resting', field)
    end
end
return done()
