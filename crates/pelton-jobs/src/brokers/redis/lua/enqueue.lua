-- Jobs without ties or keys: all or none. ARGV from 4: the number of shapes, then for each: state,
-- queue, level, task, due, microseconds it is kept, what only we read, group, expiry, headers; then
-- for each job: id, number of its shape, payload. An id that is in use is the answer's second part.
local shapes, first = {}, 5
for n = 1, tonumber(ARGV[4]) do
    shapes[n] = {
        st = ARGV[first], q = ARGV[first + 1], level = ARGV[first + 2], p = sub(ARGV[first + 2], 1, 3),
        t = ARGV[first + 3], d = ARGV[first + 4], y = ARGV[first + 5], s = ARGV[first + 6],
        g = ARGV[first + 7], x = ARGV[first + 8], h = ARGV[first + 9], due = {}, index = {},
    }
    first = first + 10
end
for from = first, #ARGV, 3000 do
    local keys = {}
    for at = from, math.min(from + 2999, #ARGV), 3 do keys[#keys + 1] = J(ARGV[at]) end
    if call('EXISTS', unpack(keys)) > 0 then
        if AGAIN then return done('') end
        for at = from, #ARGV, 3 do
            if call('EXISTS', J(ARGV[at])) == 1 then return { call('GET', P .. 'writes') or 0, ARGV[at] } end
        end
    end
end
for at = first, #ARGV, 3 do
    local id, shape = ARGV[at], shapes[tonumber(ARGV[at + 1])]
    call('HSET', J(id), 'st', shape.st, 'q', shape.q, 'p', shape.p, 'd', shape.d, 'y', shape.y, 't', shape.t,
        's', shape.s, 'l', ARGV[at + 2])
    if shape.x ~= '' then
        call('HSET', J(id), 'x', shape.x)
        call('ZADD', P .. 'expires', shape.x, id)
    end
    if shape.h ~= '' then call('HSET', J(id), 'h', shape.h) end
    if shape.g ~= '' then
        call('HSET', J(id), 'g', shape.g)
        call('ZADD', P .. 'g' .. shape.g, 0, id)
    end
    local due, index = shape.due, shape.index
    local n = #due
    due[n + 1], due[n + 2] = shape.d, id
    index[n + 1], index[n + 2] = 0, id
end
for _, shape in ipairs(shapes) do
    if shape.st == '@{Queued}' then
        many('ZADD', P .. 'r' .. shape.level, shape.due, 2000)
        call('ZADD', P .. 'levels', 0, shape.level)
    else
        many('ZADD', P .. 'due', shape.due, 2000)
    end
    many('ZADD', P .. 'i' .. shape.st .. shape.q, shape.index, 2000)
    many('ZADD', P .. 't' .. shape.t, shape.index, 2000)
    call('SADD', P .. 'queues', shape.q)
end
work = true
return done('')
