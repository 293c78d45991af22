-- ARGV after touch.lua's: limit, this call's name, the last call whose answer arrived, queues as
-- for `levels`. Answers with jobs, and when there may be more where there are none.
local limit, request, received = tonumber(ARGV[11]), ARGV[12], ARGV[13]

local function answer(id, job)
    local inputs = false
    if job[11] then inputs = call('HGETALL', P .. 'a' .. id) end
    return { id, job[12], job[3], job[4], job[5], job[6], job[7], job[8] or '', job[9] or '', job[13] or '0', inputs, job[15] }
end
local NAMES = { 'st', 'x', 't', 'l', 's', 'at', 'tk', 'k', 'g', 'v', 'ni', 'q', 'fa', 'w', 'h' }

touch()
local last = call('HMGET', P .. 'w' .. WORKER, 'request', 'given')
if AGAIN and last[1] == request then
    -- Given before, in an answer that was lost.
    local jobs = {}
    for at = 1, #last[2], 16 do
        local id = sub(last[2], at, at + 15)
        local job = call('HMGET', J(id), unpack(NAMES))
        if job[1] == '@{Running}' and job[14] == WORKER then jobs[#jobs + 1] = answer(id, job) end
    end
    return done(jobs, '')
end
if last[1] and received ~= '' and last[1] ~= received then
    -- Nobody knows of those: their answer was lost, and its call was given up.
    for at = 1, #last[2], 16 do
        local job = load(sub(last[2], at, at + 15))
        if job and job.st == '@{Running}' and job.w == WORKER then
            local forget = { 'at', tonumber(job.at) - 1 }
            if job.ca then
                finish(job, '@{CancelDone:Running}', forget)
                if job.ch then end_children(job.id, job.st) end
            else
                move(job, '@{Released:Running}', forget)
            end
        end
    end
    call('HDEL', P .. 'w' .. WORKER, 'request', 'given')
end

for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'due', '-inf', NOWS, 'LIMIT', 0, 1000)) do
    local job = load(id)
    if job then
        move(job, '@{Due:Scheduled}', {})
    else
        call('ZREM', P .. 'due', id)
    end
end
end_expired()
take_over()

local jobs, given, taken, indexed, running, skipped = {}, {}, {}, {}, {}, false
local function take(id, level)
    local job = call('HMGET', J(id), unpack(NAMES))
    if not job[1] then
        -- Its record was removed by somebody else, or by Redis for want of memory: nothing is left
        -- to run, and those behind it must not wait for it.
        gather(taken, level, id)
        call('ZREM', P .. 'i@{Queued}' .. sub(level, 4), id)
        skipped = true
        return
    end
    if job[2] and tonumber(job[2]) <= NOW then
        expire(load(id))
        skipped = true
        return
    end
    local attempt, token = tonumber(job[6] or 0) + 1, tonumber(job[7] or 0) + 1
    job[6], job[7] = attempt, token
    if token > 1 then call('HDEL', J(id), 'pr', 'me') end
    if job[2] then
        call('HDEL', J(id), 'x')
        call('ZREM', P .. 'expires', id)
    end
    call('HSET', J(id), 'st', '@{Leased:Queued}', 'w', WORKER, 'sa', NOWS, 'at', attempt, 'tk', token,
        'v', tonumber(job[10] or 1) + 1)
    gather(taken, level, id)
    gather(indexed, job[12], id)
    running[#running + 1] = id
    given[#given + 1] = id
    changed[#changed + 1] = id
    jobs[#jobs + 1] = answer(id, job)
end

local open = levels(14)
local at = 1
while at <= #open and #jobs < limit do
    -- All queues at this priority, merged by age.
    local priority, heads = sub(open[at], 1, 3), {}
    while at <= #open and sub(open[at], 1, 3) == priority do
        local head = call('ZRANGE', P .. 'r' .. open[at], 0, limit - #jobs - 1, 'WITHSCORES')
        for n = 1, #head, 2 do heads[#heads + 1] = { tonumber(head[n + 1]), head[n], open[at] } end
        at = at + 1
    end
    if #heads > 1 and heads[#heads][3] ~= heads[1][3] then
        table.sort(heads, function(one, two)
            if one[1] ~= two[1] then return one[1] < two[1] end
            return one[2] < two[2]
        end)
    end
    for n = 1, math.min(#heads, limit - #jobs) do take(heads[n][2], heads[n][3]) end
end
for level, list in pairs(taken) do
    many('ZREM', P .. 'r' .. level, list, 4000)
    if call('EXISTS', P .. 'r' .. level) == 0 then call('ZREM', P .. 'levels', level) end
end
for queue, list in pairs(indexed) do
    many('ZREM', P .. 'i@{Queued}' .. queue, list, 4000)
    local scored = {}
    for n, id in ipairs(list) do scored[2 * n - 1], scored[2 * n] = 0, id end
    many('ZADD', P .. 'i@{Running}' .. queue, scored, 4000)
end
many('SADD', P .. 'run' .. WORKER, running, 4000)
if #jobs > 0 then
    call('HSET', P .. 'w' .. WORKER, 'request', request, 'given', table.concat(given))
    return done(jobs, '')
end
if not work then call('SET', P .. 'idle', '1') end
local when = next_time()
if work or skipped then when = NOWS end
return done(jobs, when)
