-- ARGV after touch.lua's: limit, this call's name, the last call whose answer arrived, the
-- number of this turn, queues as for `levels`. Answers with jobs, and when there may be more where
-- there are none.
local limit, request, received = tonumber(ARGV[11]), ARGV[12], ARGV[13]

-- The fields of `NAMES`, with the id in place of the state, and the inputs in place of the worker.
local function answer(id, job)
    job[1] = id
    job[12] = job[10] and call('HGETALL', P .. 'a' .. id)
    return job
end
local NAMES = { 'st', 'x', 'l', 's', 'at', 'tk', 'k', 'g', 'v', 'ni', 'fa', 'w', 'h' }

touch()
local last = call('HMGET', P .. 'w' .. WORKER, 'request', 'given')
if AGAIN and last[1] == request then
    -- Given before, in an answer that was lost.
    local jobs = {}
    for at = 1, #last[2], 16 do
        local id = sub(last[2], at, at + 15)
        local job = call('HMGET', J(id), unpack(NAMES))
        if job[1] == '@{Running}' and job[12] == WORKER then jobs[#jobs + 1] = answer(id, job) end
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
                remember(job, 'cancelled')
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

local jobs, given, taken, counts, running, skipped = {}, {}, {}, {}, {}, false
-- The fields of a job; asking for one that is not there costs as much as for one that is.
local function fields_of(id)
    if call('HLEN', J(id)) > 4 then return call('HMGET', J(id), unpack(NAMES)) end
    local own = call('HMGET', J(id), 'st', 'l', 's')
    return { own[1], false, own[2], own[3], false, false, false, false, false, false, false, false, false }
end

local function take(id, level, letters)
    local job = fields_of(id)
    if not job[1] then
        -- Its record was removed by somebody else, or by Redis for want of memory: nothing is left
        -- to run, and those behind it must not wait for it.
        gather(taken, level, id)
        skipped = true
        return false
    end
    if job[2] and tonumber(job[2]) <= NOW then
        expire(load(id))
        skipped = true
        return false
    end
    local attempt, token = tonumber(job[5] or 0) + 1, tonumber(job[6] or 0) + 1
    job[5], job[6] = attempt, token
    if token > 1 then call('HDEL', J(id), 'pr', 'me') end
    if job[2] then
        call('HDEL', J(id), 'x')
        call('ZREM', P .. 'expires', id)
    end
    call('HSET', J(id), 'st', '@{Leased:Queued}', 'w', WORKER, 'sa', NOWS, 'at', attempt, 'tk', token,
        'v', tonumber(job[9] or 1) + 1)
    if letters and letters ~= '' then call('HSET', J(id), 'us', letters) end
    gather(taken, level, id)
    local queue = queue_of(level)
    counts[queue] = (counts[queue] or 0) + 1
    running[#running + 1] = id
    given[#given + 1] = id
    changed[#changed + 1] = id
    jobs[#jobs + 1] = answer(id, job)
    return true
end

pick(15, limit, tonumber(ARGV[14]), take)
for level, list in pairs(taken) do
    many('ZREM', P .. 'r' .. level, list, 4000)
    if call('EXISTS', P .. 'r' .. level) == 0 then call('ZREM', P .. 'levels', level) end
end
for queue, count in pairs(counts) do call('HINCRBY', P .. 'running', queue, count) end
many('SADD', P .. 'run' .. WORKER, running, 4000)
if #jobs > 0 then
    call('HSET', P .. 'w' .. WORKER, 'request', request, 'given', table.concat(given))
    return done(jobs, '')
end
if not work then call('SET', P .. 'idle', '1') end
local when = next_time(opens_at)
if work or skipped then when = NOWS end
return done(jobs, when)
