-- A job's moves between states, and what they mean to the jobs that wait for it.
local FIELDS = { 'st', 'q', 'p', 'd', 'y', 't', 'at', 'fa', 'lo', 'tk', 'v', 'w', 'ca', 'k', 'g', 'x', 'pe', 'ch' }
local NAMES = { ['4'] = 'succeeded', ['5'] = 'dead', ['6'] = 'cancelled' }

local function load(id)
    local found = call('HMGET', J(id), unpack(FIELDS))
    if not found[1] then return nil end
    local job = { id = id }
    for n, name in ipairs(FIELDS) do job[name] = found[n] end
    return job
end

local function ready(job, due)
    local level = job.p .. job.q
    call('ZADD', P .. 'r' .. level, due, job.id)
    call('ZADD', P .. 'levels', 0, level)
    work = true
end

local function unready(job)
    local level = job.p .. job.q
    call('ZREM', P .. 'r' .. level, job.id)
    if call('EXISTS', P .. 'r' .. level) == 0 then call('ZREM', P .. 'levels', level) end
end

-- Takes a job out of all that its state puts it in, and forgets what only that state has.
local function leave(job)
    call('ZREM', P .. 'i' .. job.st .. job.q, job.id)
    if job.st == '1' then
        call('ZREM', P .. 'due', job.id)
    elseif job.st == '2' then
        unready(job)
    elseif job.st == '3' then
        call('SREM', P .. 'run' .. job.w, job.id)
        if job.ca then call('SREM', P .. 'c' .. job.w, job.id) end
    elseif job.st > '3' then
        call('ZREM', P .. 'purge', job.id)
    end
end

-- Moves a job: out of its state, into `to`, writing the fields of `set` (name, value, ...).
local function move(job, to, set)
    leave(job)
    job.st, job.v = to, tonumber(job.v or 1) + 1
    insert(set, 'st')
    insert(set, to)
    insert(set, 'v')
    insert(set, job.v)
    call('HSET', J(job.id), unpack(set))
    call('ZADD', P .. 'i' .. to .. job.q, 0, job.id)
    if to == '1' then
        call('ZADD', P .. 'due', job.d, job.id)
        work = true
    elseif to == '2' then
        ready(job, job.d)
    end
    changed[#changed + 1] = job.id
end

-- Moves a job to its end.
local function finish(job, to, set, least)
    local purge = text(NOW + math.max(tonumber(job.y), least or 0))
    insert(set, 'fi')
    insert(set, NOWS)
    insert(set, 'pu')
    insert(set, purge)
    move(job, to, set)
    call('ZADD', P .. 'purge', purge, job.id)
    if job.k and call('HGET', P .. 'keys', job.k) == job.id then call('HDEL', P .. 'keys', job.k) end
    if job.x then call('ZREM', P .. 'expires', job.id) end
end

local function hex(id)
    return (id:gsub('.', function(byte) return string.format('%02x', byte:byte()) end))
end

local PARENT_ENDED = @{ParentEnded}

-- Cancels all jobs that wait, directly or through others, for one that will not succeed.
local function end_children(id, state)
    local ended = { { id, state } }
    while #ended > 0 do
        local parent = table.remove(ended)
        local reason = 'parent ' .. hex(parent[1]) .. ' is ' .. NAMES[parent[2]]
        for _, edge in ipairs(call('SMEMBERS', P .. 'e' .. parent[1])) do
            local child = load(sub(edge, 1, 16))
            local to = child and PARENT_ENDED[child.st]
            if to then
                finish(child, to, { 're', reason })
                insert(ended, { child.id, to })
            end
        end
    end
end

-- Hands a result to the jobs that wait for it; those with all inputs go on.
local function release_children(id, result)
    for _, edge in ipairs(call('SMEMBERS', P .. 'e' .. id)) do
        local child = load(sub(edge, 1, 16))
        if child then
            call('HSET', P .. 'a' .. child.id, sub(edge, 17), result)
            local pending = tonumber(child.pe) - 1
            if pending == 0 and child.st == '@{Waiting}' then
                if tonumber(child.d) > NOW then
                    move(child, '@{ParentsDoneLater:Waiting}', { 'pe', 0 })
                else
                    -- It stands behind those that were ready before.
                    child.d = NOWS
                    move(child, '@{ParentsDone:Waiting}', { 'pe', 0, 'd', NOWS })
                end
            else
                call('HSET', J(child.id), 'pe', pending, 'v', tonumber(child.v or 1) + 1)
                changed[#changed + 1] = child.id
            end
        end
    end
    call('DEL', P .. 'e' .. id)
end

-- Removes an ended job; those that still wait for it would wait for ever.
local function remove(job)
    leave(job)
    if job.ch then
        if job.st ~= '4' then
            end_children(job.id, job.st)
            for _, edge in ipairs(call('SMEMBERS', P .. 'e' .. job.id)) do
                local child = J(sub(edge, 1, 16))
                if call('EXISTS', child) == 1 then call('HSET', child, 'or', 1) end
            end
        end
    end
    call('DEL', J(job.id), P .. 'a' .. job.id, P .. 'e' .. job.id)
    call('ZREM', P .. 't' .. job.t, job.id)
    if job.g then call('ZREM', P .. 'g' .. job.g, job.id) end
    changed[#changed + 1] = job.id
end

local EXPIRED = @{Expired}

local function expire(job)
    local to = EXPIRED[job.st]
    if not to then return end
    finish(job, to, { 're', 'expired' })
    if job.ch then end_children(job.id, to) end
end

-- Jobs that were not begun in time end. Whether there may be more.
local function end_expired()
    local late = call('ZRANGEBYSCORE', P .. 'expires', '-inf', NOWS, 'LIMIT', 0, 200)
    for _, id in ipairs(late) do
        local job = load(id)
        if job then expire(job) end
        call('ZREM', P .. 'expires', id)
    end
    return #late > 0
end

-- A worker's lease on a job is over, without its word.
local function lose(job)
    local losses = tonumber(job.lo or 0) + 1
    if job.ca then
        finish(job, '@{CancelDone:Running}', { 'lo', 0, 're', 'its worker went away' })
    elseif losses >= @{MAX_LOSSES} then
        local reason = 'poison: @{MAX_LOSSES} workers in a row went away while they ran it'
        finish(job, '@{LostForGood:Running}', { 'lo', losses, 're', reason }, @{DEAD_TTL})
    else
        call('HDEL', J(job.id), 're')
        move(job, '@{Lost:Running}', { 'lo', losses })
    end
    if job.st > '3' and job.ch then end_children(job.id, job.st) end
end

-- Takes jobs from a worker whose lease ran out. Whether there may be more.
local function take_over()
    local dead = call('ZRANGEBYSCORE', P .. 'workers', '-inf', '(' .. NOWS, 'LIMIT', 0, 1)[1]
    if not dead then return false end
    local ids = call('SRANDMEMBER', P .. 'run' .. dead, 500)
    for _, id in ipairs(ids) do
        local job = load(id)
        if job and job.st == '@{Running}' and job.w == dead then
            lose(job)
        else
            call('SREM', P .. 'run' .. dead, id)
        end
    end
    if #ids < 500 then
        call('ZREM', P .. 'workers', dead)
        call('DEL', P .. 'w' .. dead, P .. 'c' .. dead)
    end
    return true
end
