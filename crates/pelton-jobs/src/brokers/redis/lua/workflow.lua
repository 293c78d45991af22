-- Jobs with keys or ties: all or none. n, the jobs (id, state, queue, level, task, due,
-- expiry, group, key, number of fields, fields), then edges: parent, child, position, whether a
-- failure is waited for. Answers with what is wrong and the id it is about, or with the ids.

-- Who has a key: one that has not ended, or whose key stays taken.
local function holder_of(key)
    local id = call('HGET', P .. 'keys', key)
    if not id then return nil end
    local job = call('HMGET', J(id), 'st', 'ku')
    return job[1] and (job[1] < '4' or keeps_key(job[2])) and id or nil
end

local n, at = tonumber(ARGV[4]), 5
local jobs, real, own = {}, {}, {}
for _ = 1, n do
    local job = { id = ARGV[at], q = ARGV[at + 2], p = sub(ARGV[at + 3], 1, 3), t = ARGV[at + 4], d = ARGV[at + 5] }
    job.x, job.g, job.k = ARGV[at + 6], ARGV[at + 7], ARGV[at + 8]
    job.first, job.last = at + 10, at + 9 + ARGV[at + 9]
    at = job.last + 1
    job.written = not own[job.id] and was_written(job.id)
    if not job.written and (own[job.id] or call('EXISTS', J(job.id)) == 1) then
        return unchanged('used', job.id)
    end
    own[job.id], real[job.id] = job, job.id
    jobs[#jobs + 1] = job
end
local ids, keyed, again = {}, {}, false
for n, job in ipairs(jobs) do
    again = again or job.written
    if job.k ~= '' and not job.written then
        local holder = keyed[job.k] or holder_of(job.k)
        if holder then real[job.id] = holder end
        keyed[job.k] = real[job.id]
    end
    ids[n] = real[job.id]
end
-- Written before, by a call whose answer was lost.
if again then return done('', ids) end

local edges, elders = {}, {}
for e = at, #ARGV, 4 do
    local child = own[ARGV[e + 1]]
    if real[child.id] == child.id then
        local edge = { parent = real[ARGV[e]] or ARGV[e], child = child, position = ARGV[e + 2] }
        edge.kind = ARGV[e + 3] == '1' and 'f' or 'e'
        local inner = own[edge.parent]
        if inner and real[inner.id] ~= inner.id then inner = nil end
        child.inputs, child.pending = (child.inputs or 0) + 1, child.pending or 0
        if inner then
            child.pending, inner.children = child.pending + 1, true
        else
            local elder = elders[edge.parent] or load(edge.parent)
            if not elder then return unchanged('orphan', edge.parent) end
            elders[edge.parent], edge.elder = elder, elder
            if elder.st ~= '@{Succeeded}' or edge.kind == 'f' then child.pending = child.pending + 1 end
        end
        edges[#edges + 1] = edge
    end
end

for _, job in ipairs(jobs) do
    if real[job.id] == job.id then
        call('HSET', J(job.id), unpack(ARGV, job.first, job.last))
        if job.inputs then call('HSET', J(job.id), 'ni', job.inputs, 'pe', job.pending) end
        if job.children then call('HSET', J(job.id), 'ch', 1) end
        if job.k ~= '' then call('HSET', P .. 'keys', job.k, job.id) end
        if job.x ~= '' then call('ZADD', P .. 'expires', job.x, job.id) end
        if job.g ~= '' then call('ZADD', P .. 'g:' .. job.g, 0, job.id) end
        call('ZADD', P .. 't:' .. job.t, 0, job.id)
        call('SADD', P .. 'tasks', job.t)
        call('SADD', P .. 'queues', job.q)
        local state
        if (job.pending or 0) > 0 then
            state = '@{Waiting}'
        elseif tonumber(job.d) > NOW then
            state = '@{Scheduled}'
            call('ZADD', P .. 'due', job.d, job.id)
            work = true
        else
            state = '@{Queued}'
            ready(job, job.d)
        end
        call('HSET', J(job.id), 'st', state)
        if state ~= '@{Queued}' then call('ZADD', P .. 'i' .. state .. job.q, 0, job.id) end
    end
end
for _, edge in ipairs(edges) do
    if edge.elder and edge.elder.st == '@{Succeeded}' and edge.kind == 'e' then
        local result = call('HGET', J(edge.parent), 'rs')
        call('HSET', P .. 'a' .. edge.child.id, edge.position, result or '')
    else
        call('SADD', P .. edge.kind .. edge.parent, edge.child.id .. edge.position)
    end
end
for id, elder in pairs(elders) do
    call('HSET', J(id), 'ch', 1)
    if elder.st == '@{Dead}' or elder.st == '@{Cancelled}' then
        end_children(id, elder.st)
    elseif elder.st == '@{Succeeded}' then
        drop_unneeded(id)
    end
end
return done('', ids)
