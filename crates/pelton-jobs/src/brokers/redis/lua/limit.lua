-- Limits, and buckets that programs take from. ARGV from 4: what, then `set`, and `declare`, which
-- leaves alone what was set: scope, its letter, its name, the limit ('' to remove it); `take`: bucket, rate, burst, cost. `take` answers with '', or
-- with when to ask again.
if ARGV[4] == 'take' then
    local tat = tonumber(call('ZSCORE', P .. 'buckets', ARGV[5]) or nil)
    local next, again = take_from(tat, tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]))
    if not next then return unchanged(text(again)) end
    call('ZADD', P .. 'buckets', text(next), ARGV[5])
    return done('')
end
local scope, letter, name = ARGV[5], ARGV[6], ARGV[7]
if ARGV[4] == 'declare' then
    local before = call('HGET', P .. 'limits', scope)
    if before and before:match('%S+$') ~= '1' then return unchanged() end
end
-- What was held back may not be any more.
work = true
if ARGV[8] == '' then
    call('HDEL', P .. 'limits', scope)
    return done()
end
call('HSET', P .. 'limits', scope, ARGV[8])
-- What runs already counts.
for _, worker in ipairs(call('ZRANGE', P .. 'workers', 0, -1)) do
    for _, id in ipairs(call('SMEMBERS', P .. 'run' .. worker)) do
        local job = call('HMGET', J(id), 's', 'lk', 'us')
        local _, _, task, queue = constants(job[1] or '0 0 0 0 0 0 0 ')
        local letters, bucket = job[3] or '', scope
        local under = letter == 'q' and queue == name or letter ~= 'q' and task == name
        if letter == 'k' then
            under = under and job[2]
            bucket = scope .. '\n' .. (job[2] or '')
        end
        if under and not letters:find(letter) then
            call('SADD', P .. 'u' .. bucket, id)
            call('HSET', J(id), 'us', letters .. letter)
        end
    end
end
return done()
