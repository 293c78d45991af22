-- All queues: name, paused, how many in each state, when the oldest ready one was due.
local P, call, sub = KEYS[1], redis.call, string.sub
local oldest, ready = {}, {}
for _, level in ipairs(call('ZRANGE', P .. 'levels', 0, -1)) do
    local head = call('ZRANGE', P .. 'r' .. level, 0, 0, 'WITHSCORES')[2]
    local queue = sub(level, 8 + tonumber(sub(level, 4, 7)))
    if head and (not oldest[queue] or tonumber(head) < tonumber(oldest[queue])) then oldest[queue] = head end
    ready[queue] = (ready[queue] or 0) + call('ZCARD', P .. 'r' .. level)
end
local answer = {}
for _, queue in ipairs(call('SMEMBERS', P .. 'queues')) do
    local counts = {}
    for state = 0, 6 do counts[state + 1] = call('ZCARD', P .. 'i' .. state .. queue) end
    counts[3] = ready[queue] or 0
    counts[4] = tonumber(call('HGET', P .. 'running', queue) or 0)
    answer[#answer + 1] = { queue, call('SISMEMBER', P .. 'paused', queue), counts, oldest[queue] or '' }
end
return answer
