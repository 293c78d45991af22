-- Jobs without ties or keys: all or none. For each: id, state, queue, level, task, due, expiry,
-- group, number of fields, fields. An id that is in use is the answer's second part.
local jobs, at = {}, 4
while at <= #ARGV do
    local n = tonumber(ARGV[at + 8])
    jobs[#jobs + 1] = at
    at = at + 9 + n
end
for first = 1, #jobs, 1000 do
    local keys = {}
    for n = first, math.min(first + 999, #jobs) do keys[#keys + 1] = J(ARGV[jobs[n]]) end
    if call('EXISTS', unpack(keys)) > 0 then
        if AGAIN then return done('') end
        for n = first, math.min(first + 999, #jobs) do
            if call('EXISTS', J(ARGV[jobs[n]])) == 1 then return { call('GET', P .. 'writes') or 0, ARGV[jobs[n]] } end
        end
    end
end
local ready, indexed, due, queues = {}, {}, {}, {}
for _, at in ipairs(jobs) do
    local id, state, queue = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    call('HSET', J(id), unpack(ARGV, at + 9, at + 8 + ARGV[at + 8]))
    if state == '@{Queued}' then
        local list = gather(ready, ARGV[at + 3], ARGV[at + 5])
        list[#list + 1] = id
    else
        due[#due + 1] = ARGV[at + 5]
        due[#due + 1] = id
    end
    local list = gather(indexed, P .. 'i' .. state .. queue, 0)
    list[#list + 1] = id
    list = gather(indexed, P .. 't' .. ARGV[at + 4], 0)
    list[#list + 1] = id
    if ARGV[at + 6] ~= '' then call('ZADD', P .. 'expires', ARGV[at + 6], id) end
    if ARGV[at + 7] ~= '' then call('ZADD', P .. 'g' .. ARGV[at + 7], 0, id) end
    queues[queue] = true
end
for level, list in pairs(ready) do
    many('ZADD', P .. 'r' .. level, list, 2000)
    call('ZADD', P .. 'levels', 0, level)
end
many('ZADD', P .. 'due', due, 2000)
for key, list in pairs(indexed) do many('ZADD', key, list, 2000) end
for queue in pairs(queues) do call('SADD', P .. 'queues', queue) end
work = true
return done('')
