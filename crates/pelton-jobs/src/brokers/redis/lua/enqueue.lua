-- Jobs without ties or keys: all or none. ARGV from 4: the number of shapes, for each: state, queue,
-- priority's level, task, due, what never changes, group, expiry, headers, key of its limit; for each
-- how many jobs have it; then the jobs, by shape: id and payload in one. An id that is in use is the
-- answer's own part.
local shapes, first = {}, 5
for n = 1, tonumber(ARGV[4]) do
    shapes[n] = {
        st = ARGV[first], q = ARGV[first + 1], p = ARGV[first + 2], t = ARGV[first + 3], d = ARGV[first + 4],
        s = ARGV[first + 5], g = ARGV[first + 6], x = ARGV[first + 7], h = ARGV[first + 8], lk = ARGV[first + 9],
    }
    first = first + 10
end
local counts = first
first = first + #shapes
for from = first, #ARGV, 1000 do
    local keys = {}
    for at = from, math.min(from + 999, #ARGV) do
        local id = sub(ARGV[at], 1, 16)
        if was_written(id) then return done('') end
        keys[#keys + 1] = J(id)
    end
    if call('EXISTS', unpack(keys)) > 0 then
        for n, key in ipairs(keys) do
            if call('EXISTS', key) == 1 then return unchanged(sub(ARGV[from + n - 1], 1, 16)) end
        end
    end
end
local at = first
for n, shape in ipairs(shapes) do
    local due, index = {}, {}
    for _ = 1, tonumber(ARGV[counts + n - 1]) do
        local id, payload = sub(ARGV[at], 1, 16), sub(ARGV[at], 17)
        at = at + 1
        call('HSET', J(id), 'st', shape.st, 'd', shape.d, 's', shape.s, 'l', payload)
        if shape.x ~= '' then
            call('HSET', J(id), 'x', shape.x)
            call('ZADD', P .. 'expires', shape.x, id)
        end
        if shape.h ~= '' then call('HSET', J(id), 'h', shape.h) end
        if shape.lk ~= '' then call('HSET', J(id), 'lk', shape.lk) end
        if shape.g ~= '' then
            call('HSET', J(id), 'g', shape.g)
            call('ZADD', P .. 'g:' .. shape.g, 0, id)
        end
        local m = #due
        due[m + 1], due[m + 2] = shape.d, id
        index[m + 1], index[m + 2] = 0, id
    end
    if shape.st == '@{Queued}' then
        local level = shape.p .. lane_of(shape.t) .. shape.q
        many('ZADD', P .. 'r' .. level, due, 2000)
        call('ZADD', P .. 'levels', 0, level)
    else
        many('ZADD', P .. 'due', due, 2000)
        many('ZADD', P .. 'i' .. shape.st .. shape.q, index, 2000)
    end
    many('ZADD', P .. 't:' .. shape.t, index, 2000)
    call('SADD', P .. 'tasks', shape.t)
    call('SADD', P .. 'queues', shape.q)
end
work = true
return done('')
