-- Orders to workers. ARGV from 4: what, then `give`: the workers' name ('' for all), this call's
-- number, the order, which answers with how many got it; `take`: worker, the last number that it
-- has, whether it reports, its report. An order is a number of 16 bytes and its text; one stays until
-- its worker says that it has it.
if ARGV[4] == 'take' then
    local worker, last = ARGV[5], ARGV[6]
    local key = P .. 'o' .. worker
    if ARGV[7] == '1' and call('EXISTS', P .. 'w' .. worker) == 1 then
        call('HSET', P .. 'w' .. worker, 'rep', ARGV[8])
    end
    local orders = call('LRANGE', key, 0, -1)
    for n, order in ipairs(orders) do
        if sub(order, 1, 16) == last then
            call('LTRIM', key, n, -1)
            orders = call('LRANGE', key, 0, -1)
            break
        end
    end
    return unchanged(orders)
end
local wanted, number, told = ARGV[5], ARGV[6], 0
for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'workers', NOWS, '+inf')) do
    local found = call('HMGET', P .. 'w' .. worker, 'name', 'closed', 'u' .. UID)
    if not found[2] and (wanted == '' or found[1] == wanted or found[1] == wanted .. '-pool') then
        told = told + 1
        if not (AGAIN and found[3] == number) then
            call('RPUSH', P .. 'o' .. worker, number .. ARGV[7])
            call('HSET', P .. 'w' .. worker, 'u' .. UID, number)
        end
    end
end
call('PUBLISH', P .. 'order', UID)
return done(told)
