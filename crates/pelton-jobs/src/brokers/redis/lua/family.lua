-- A job's moves between states, and what they mean to the jobs that wait for it.
local FIELDS = {
    'st', 's', 'd', 'at', 'fa', 'lo', 'tk', 'v', 'w', 'ca', 'k', 'g', 'x', 'pe', 'ch',
    'sa', 'lk', 'us', 'sg', 'ku',
}
local NAMES = { ['4'] = 'succeeded', ['5'] = 'dead', ['6'] = 'cancelled' }

local function load(id)
    local found = call('HMGET', J(id), unpack(FIELDS))
    if not found[1] then return nil end
    local job = { id = id }
    for n, name in ipairs(FIELDS) do job[name] = found[n] end
    job.p, job.y, job.t, job.q = constants(job.s)
    return job
end

local function ready(job, due)
    local level = job.p .. lane_of(job.t) .. job.q
    call('ZADD', P .. 'r' .. level, due, job.id)
    call('ZADD', P .. 'levels', 0, level)
    work = true
end

local function unready(job)
    for _, lane in ipairs({ '0000', string.format('%04d', #job.t) .. job.t }) do
        local level = job.p .. lane .. job.q
        if call('ZREM', P .. 'r' .. level, job.id) == 1 then
            if call('EXISTS', P .. 'r' .. level) == 0 then call('ZREM', P .. 'levels', level) end
            return
        end
    end
end

-- A job that ran under limits does so no more: others may.
local function vacate(id, used, queue, task, key)
    local scopes = { q = 'queue:' .. queue, t = 'task:' .. task, k = 'key:' .. task .. '\n' .. (key or '') }
    for letter in used:gmatch('.') do call('SREM', P .. 'u' .. scopes[letter], id) end
    call('HDEL', J(id), 'us')
    work = true
end

-- Takes a job out of all that its state puts it in, and forgets what only that state has.
local function leave(job)
    if job.st < '2' or job.st > '3' then call('ZREM', P .. 'i' .. job.st .. job.q, job.id) end
    if job.st == '1' then
        call('ZREM', P .. 'due', job.id)
        if job.sg then call('HDEL', J(job.id), 'sg') end
    elseif job.st == '2' then
        unready(job)
    elseif job.st == '3' then
        call('SREM', P .. 'run' .. job.w, job.id)
        call('HINCRBY', P .. 'running', job.q, -1)
        if job.ca then call('SREM', P .. 'c' .. job.w, job.id) end
        if job.us then vacate(job.id, job.us, job.q, job.t, job.lk) end
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
    if to ~= '2' then call('ZADD', P .. 'i' .. to .. job.q, 0, job.id) end
    if to == '1' then
        call('ZADD', P .. 'due', job.d, job.id)
        work = true
    elseif to == '2' then
        ready(job, job.d)
    end
    changed[#changed + 1] = job.id
end

-- Whether a job's key stays taken though the job has ended.
local function keeps_key(until_then) return until_then and tonumber(until_then) > NOW end

-- Moves a job to its end.
local function finish(job, to, set, least)
    local purge = text(NOW + math.max(tonumber(job.y), least or 0))
    insert(set, 'fi')
    insert(set, NOWS)
    move(job, to, set)
    call('ZADD', P .. 'purge', purge, job.id)
    if job.k and not keeps_key(job.ku) and call('HGET', P .. 'keys', job.k) == job.id then
        call('HDEL', P .. 'keys', job.k)
    end
    if job.x then call('ZREM', P .. 'expires', job.id) end
end

-- Notes how an attempt ended that did not succeed, before the job is moved.
local function remember(job, how, error)
    local name = call('HGET', P .. 'w' .. job.w, 'name') or ''
    local words = { job.at, job.tk, job.sa or '', NOWS, how, #name }
    call('RPUSH', P .. 'h' .. job.id, table.concat(words, ' ') .. '\n' .. name .. (error or ''))
    call('LTRIM', P .. 'h' .. job.id, -@{HISTORY_MAX}, -1)
end

local function hex(id)
    return (id:gsub('.', function(byte) return string.format('%02x', byte:byte()) end))
end

-- A job that waited may begin.
local function go_on(child, set)
    insert(set, 'pe')
    insert(set, 0)
    if tonumber(child.d) > NOW then
        move(child, '@{ParentsDoneLater:Waiting}', set)
    else
        -- It stands behind those that were ready before.
        child.d = NOWS
        insert(set, 'd')
        insert(set, NOWS)
        move(child, '@{ParentsDone:Waiting}', set)
    end
end

-- A text as JSON writes it.
local function quoted(words)
    local escaped = words:gsub('[%z\1-\31"\\]', function(char)
        if char == '"' or char == '\\' then return '\\' .. char end
        return string.format('\\u%04x', char:byte())
    end)
    return '"' .. escaped .. '"'
end

-- Lets those begin that wait for the failure of this job: it is their only input, in the words of
-- workflow.rs. Those that ended while they waited get it, too: they may be retried.
local function follow_failure(id, state)
    local edges = call('SMEMBERS', P .. 'f' .. id)
    if #edges == 0 then return end
    local told = call('HMGET', J(id), 're', 'er')
    local error = told[2] and told[2] ~= '' and told[2] or 'null'
    local input = '{"job":"' .. hex(id) .. '","state":"' .. NAMES[state] .. '","reason":'
        .. (told[1] and quoted(told[1]) or 'null') .. ',"error":' .. error .. '}'
    for _, edge in ipairs(edges) do
        local child = load(sub(edge, 1, 16))
        if child and child.st == '@{Waiting}' then
            call('HSET', P .. 'a' .. child.id, sub(edge, 17), input)
            go_on(child, { 'ni', 1 })
        elseif child and child.st > '3' and tonumber(child.pe or 0) > 0 then
            call('HSET', P .. 'a' .. child.id, sub(edge, 17), input)
            call('HSET', J(child.id), 'pe', 0, 'ni', 1, 'v', tonumber(child.v or 1) + 1)
            changed[#changed + 1] = child.id
        end
    end
end

local PARENT_ENDED = @{ParentEnded}

-- Cancels all jobs that wait, directly or through others, for one that will not succeed, and lets
-- those begin that wait for a failure, unless it is `quiet`. Answers with those that it ended.
local function end_children(id, state, quiet)
    local ended, all = { { id, state } }, {}
    while #ended > 0 do
        local parent = table.remove(ended)
        local reason = 'parent ' .. hex(parent[1]) .. ' is ' .. NAMES[parent[2]]
        for _, edge in ipairs(call('SMEMBERS', P .. 'e' .. parent[1])) do
            local child = load(sub(edge, 1, 16))
            local to = child and PARENT_ENDED[child.st]
            if to then
                finish(child, to, { 're', reason })
                insert(ended, { child.id, to })
                insert(all, child.id)
            end
        end
        if not quiet then follow_failure(parent[1], parent[2]) end
    end
    return all
end

-- A job that succeeded has no failure to follow: those that wait for nothing else are cancelled,
-- with all that wait for them; what is not needed has no failure to follow either.
local function drop_unneeded(id)
    local settled = { id }
    while #settled > 0 do
        local parent = table.remove(settled)
        for _, edge in ipairs(call('SMEMBERS', P .. 'f' .. parent)) do
            local child = load(sub(edge, 1, 16))
            local pending = child and tonumber(child.pe or 0) or 0
            if pending > 0 then
                call('HINCRBY', J(child.id), 'pe', -1)
                call('HINCRBY', J(child.id), 'ni', -1)
                local to = pending == 1 and PARENT_ENDED[child.st]
                local reason = 'not needed: ' .. hex(parent) .. ' is succeeded'
                if to then
                    finish(child, to, { 're', reason })
                    insert(settled, child.id)
                    for _, other in ipairs(end_children(child.id, to, true)) do insert(settled, other) end
                elseif pending == 1 then
                    -- One that has ended for another reason is not to be retried either.
                    call('HSET', J(child.id), 're', reason)
                end
            end
        end
        call('DEL', P .. 'f' .. parent)
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
                go_on(child, {})
            else
                call('HSET', J(child.id), 'pe', pending, 'v', tonumber(child.v or 1) + 1)
                changed[#changed + 1] = child.id
            end
        end
    end
    call('DEL', P .. 'e' .. id)
    drop_unneeded(id)
end

-- Removes an ended job; those that still wait for it would wait for ever.
local function remove(job)
    local id = job.id
    leave(job)
    if job.ch and job.st ~= '@{Succeeded}' then
        end_children(id, job.st)
        for _, edges in ipairs({ 'e', 'f' }) do
            for _, edge in ipairs(call('SMEMBERS', P .. edges .. id)) do
                local child = J(sub(edge, 1, 16))
                if call('EXISTS', child) == 1 then call('HSET', child, 'or', 1) end
            end
        end
    end
    local of = {}
    for _, kind in ipairs({ 'j', 'a', 'e', 'f', 's', 'm', 'h' }) do insert(of, P .. kind .. id) end
    call('DEL', unpack(of))
    call('ZREM', P .. 't:' .. job.t, id)
    if job.g then call('ZREM', P .. 'g:' .. job.g, id) end
    if job.k and call('HGET', P .. 'keys', job.k) == id then call('HDEL', P .. 'keys', job.k) end
    changed[#changed + 1] = id
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
    remember(job, job.ca and 'cancelled' or 'lost')
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
        call('DEL', P .. 'w' .. dead, P .. 'c' .. dead, P .. 'o' .. dead)
    end
    return true
end
