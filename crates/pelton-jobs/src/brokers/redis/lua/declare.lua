-- ARGV from 4: owner, then for each schedule: name, rule, record, next tick ('' for none).
local owner = ARGV[4] .. '\0'
local kept = {}
for at = 5, #ARGV, 4 do
    local field = owner .. ARGV[at]
    kept[field] = true
    if call('HGET', P .. 'rules', field) ~= ARGV[at + 1] then
        call('HSET', P .. 'rules', field, ARGV[at + 1])
        if ARGV[at + 3] == '' then
            call('ZREM', P .. 'ticks', field)
        else
            call('ZADD', P .. 'ticks', ARGV[at + 3], field)
        end
    end
    call('HSET', P .. 'schedules', field, ARGV[at + 2])
end
for _, field in ipairs(call('HKEYS', P .. 'rules')) do
    if sub(field, 1, #owner) == owner and not kept[field] then
        call('HDEL', P .. 'rules', field)
        call('HDEL', P .. 'schedules', field)
        call('HDEL', P .. 'fired', field)
        call('ZREM', P .. 'ticks', field)
    end
end
return done()
