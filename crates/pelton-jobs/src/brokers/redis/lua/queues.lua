-- All queues: name, paused, how many in each state, when the oldest ready one was due.
local oldest = {}
for _, level in ipairs(redis.call('ZRANGE', KEYS[1] .. 'levels', 0, -1)) do
    local head = redis.call('ZRANGE', KEYS[1] .. 'r' .. level, 0, 0, 'WITHSCORES')[2]
    local queue = string.sub(level, 4)
    if head and (not oldest[queue] or tonumber(head) < tonumber(oldest[queue])) then oldest[queue] = head end
end
local answer = {}
for _, queue in ipairs(redis.call('SMEMBERS', KEYS[1] .. 'queues')) do
    local counts = {}
    for state = 0, 6 do counts[state + 1] = redis.call('ZCARD', KEYS[1] .. 'i' .. state .. queue) end
    answer[#answer + 1] = { queue, redis.call('SISMEMBER', KEYS[1] .. 'paused', queue), counts, oldest[queue] or '' }
end
return answer
