-- Ready jobs in the order in which they begin, as far as the limits allow.

-- Ready jobs of a task with a limit for each key that are looked at: those of keys that are open
-- may stand behind many of one that is not.
local KEY_SCAN = 2000

local bounds, opens_at = {}, nil

-- A limit and what is used of it, or false: looked up once.
local function bound_of(scope, bucket)
    local bound = bounds[bucket]
    if bound == nil then
        local limit = call('HGET', P .. 'limits', scope)
        bound = false
        if limit then
            local most, rate, burst = limit:match('^(%S+) (%S+) (%S+)')
            bound = { bucket = bucket, most = tonumber(most), rate = tonumber(rate), burst = tonumber(burst) }
            bound.running = call('SCARD', P .. 'u' .. bucket)
            if bound.rate then bound.tat = tonumber(call('ZSCORE', P .. 'buckets', bucket) or nil) end
        end
        bounds[bucket] = bound
    end
    return bound
end

-- Whether there is room under all of these; if only time is wanting, when there is.
local function has_room(wanted)
    local open, at = true, nil
    for _, bound in ipairs(wanted) do
        if bound.most and bound.running >= bound.most then
            open = false
        elseif bound.rate then
            local next, again = take_from(bound.tat, bound.rate, bound.burst, 1)
            if not next then
                open = false
                if not at or again > at then at = again end
            end
        end
    end
    if not open and at and (not opens_at or at < opens_at) then opens_at = at end
    return open
end

-- The limits that a job is under, and a letter for each.
local function bounds_over(queue, task, key)
    local wanted, letters = {}, ''
    local function add(letter, bound)
        if bound then
            insert(wanted, bound)
            letters = letters .. letter
        end
    end
    add('q', bound_of('queue:' .. queue, 'queue:' .. queue))
    add('t', bound_of('task:' .. task, 'task:' .. task))
    if key then add('k', bound_of('key:' .. task, 'key:' .. task .. '\n' .. key)) end
    return wanted, letters
end

-- Jobs that were ready before their tasks had limits go to where those stand: many in a call, once
-- there are any among the first `most`, or those behind them wait for as many calls.
local function put_apart(level, most)
    for _ = 1, 20 do
        local moved = false
        local found = call('ZRANGE', P .. 'r' .. level, 0, most - 1, 'WITHSCORES')
        for n = 1, #found, 2 do
            local id = found[n]
            local own = call('HGET', J(id), 's')
            local _, _, task = constants(own or '0 0 0 0 0 0 0 ')
            local lane = lane_of(task)
            if lane ~= '0000' then
                local to = sub(level, 1, 3) .. lane .. queue_of(level)
                call('ZADD', P .. 'r' .. to, found[n + 1], id)
                call('ZREM', P .. 'r' .. level, id)
                call('ZADD', P .. 'levels', 0, to)
                moved = true
            end
        end
        if call('EXISTS', P .. 'r' .. level) == 0 then call('ZREM', P .. 'levels', level) end
        if not moved then return end
        most = 500
    end
    -- There may be more, and who finds nothing now is to ask again at once.
    work = true
end

-- The first `most` jobs of a level and more where a key may hold those back, as { due, id, level }.
local function heads_of(level, most, limited, into)
    local task = sub(level, 8, 7 + tonumber(sub(level, 4, 7)))
    if limited and task ~= '' then
        -- All of it may have to wait.
        local bound = bound_of('task:' .. task, 'task:' .. task)
        if bound and not has_room({ bound }) then return end
        if call('HEXISTS', P .. 'limits', 'key:' .. task) == 1 then most = math.max(most, KEY_SCAN) end
    end
    local found = call('ZRANGE', P .. 'r' .. level, 0, most - 1, 'WITHSCORES')
    for n = 1, #found, 2 do into[#into + 1] = { tonumber(found[n + 1]), found[n], level } end
end

local function by_age(one, two)
    if one[1] ~= two[1] then return one[1] < two[1] end
    return one[2] < two[2]
end

local function by_turn(one, two)
    if one.rank ~= two.rank then return one.rank < two.rank end
    if one.turn ~= two.turn then return one.turn < two.turn end
    return by_age(one, two)
end

-- All candidates at one priority: those of each queue in turn, so that a flood in one does not keep
-- the others waiting. `names`: the queues; `open`: their levels.
local function in_turn(names, open, most, turn, limited)
    local all = {}
    for place, queue in ipairs(names) do
        local heads = {}
        local bound = limited and bound_of('queue:' .. queue, 'queue:' .. queue)
        if not bound or has_room({ bound }) then
            for _, level in ipairs(open[queue]) do heads_of(level, most, limited, heads) end
        end
        if #open[queue] > 1 then table.sort(heads, by_age) end
        for rank, head in ipairs(heads) do
            head.rank, head.turn = rank, (place + turn) % #names
            all[#all + 1] = head
        end
    end
    if #names > 1 then table.sort(all, by_turn) end
    return all
end

-- Offers jobs to `take` (id, level, letters of their limits), which says whether it took one, until
-- it took `limit`, or gave no answer. `at`: where the queues are in ARGV.
local function pick(at, limit, turn, take)
    local open = levels(at)
    local limited = #open > 0 and call('EXISTS', P .. 'limits') == 1
    if limited then
        for _, level in ipairs(open) do
            if sub(level, 4, 7) == '0000' then put_apart(level, math.min(limit, 500)) end
        end
        open = levels(at)
    end
    local n, taken = 1, 0
    while n <= #open and taken < limit do
        local priority, names, of = sub(open[n], 1, 3), {}, {}
        while n <= #open and sub(open[n], 1, 3) == priority do
            local queue = queue_of(open[n])
            if not of[queue] then insert(names, queue) end
            gather(of, queue, open[n])
            n = n + 1
        end
        for _, head in ipairs(in_turn(names, of, limit - taken, turn, limited)) do
            if taken >= limit then break end
            local letters, wanted
            if limited then
                local job = call('HMGET', J(head[2]), 's', 'lk')
                if job[1] then
                    local _, _, task, queue = constants(job[1])
                    wanted, letters = bounds_over(queue, task, job[2])
                end
            end
            local took = false
            if not wanted or has_room(wanted) then took = take(head[2], head[3], letters) end
            if took == nil then return end
            if took then
                taken = taken + 1
                for _, bound in ipairs(wanted or {}) do
                    bound.running = bound.running + 1
                    if bound.rate then
                        bound.tat = take_from(bound.tat, bound.rate, bound.burst, 1)
                        bound.spent = true
                    end
                    call('SADD', P .. 'u' .. bound.bucket, head[2])
                end
            end
        end
    end
    for _, bound in pairs(bounds) do
        if bound and bound.spent then call('ZADD', P .. 'buckets', text(bound.tat), bound.bucket) end
    end
end
