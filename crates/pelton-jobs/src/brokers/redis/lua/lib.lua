-- What all scripts share. KEYS[1]: the prefix of all keys, with the hash tag of a cluster in it.
-- ARGV: now (microseconds), who calls, whether this call may have been made before, then the
-- script's own. An event's name in braces after an at sign is state.rs's table of it, and with a colon
-- and a state's name one entry of that.
--
-- j<id>: a job. i<state><queue>: its jobs, by id, but for queued and running ones: these are in
-- r<level>, by due time, and run<n>, and `running` counts the latter by queue. levels: those that are
-- not empty, best first: the priority's three digits, the lane (four digits and so many
-- bytes of a task's name, where the task has limits of its own), the queue. due, expires, purge: by
-- time. t:<task> (all tasks in `tasks`), g:<group>: by id. w<n>, run<n>, c<n>, o<n>: a worker, its jobs, those to be
-- cancelled, its orders. e<id>, f<id>: edges to children that wait for success, and for failure;
-- a<id>: inputs by position. s<id>, m<id>, h<id>: a job's steps, signals and past attempts. keys:
-- jobs by key. gone: jobs that were removed soon after they were written. limits: by scope; u<scope>: jobs that run under one; buckets: by their times.
local P, NOWS, UID, AGAIN = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1'
local NOW = tonumber(NOWS)
local call, insert, sub = redis.call, table.insert, string.sub
local changed, work, cancels = {}, false, false

local function J(id) return P .. 'j' .. id end
local function text(number) return string.format('%.0f', number) end

-- A command with any number of arguments: Lua's stack takes some thousands at a time.
local function many(command, key, list, step)
    for at = 1, #list, step do
        call(command, key, unpack(list, at, math.min(at + step - 1, #list)))
    end
end

-- What never changes of a job: the digits of its priority, microseconds that it is kept, task, queue.
local function constants(own)
    local priority, kept, length, names = own:match('^%S* %S* %S* %S* (%d+) (%d+) (%d+) (.*)$')
    return priority, kept, sub(names, 1, length), sub(names, length + 1)
end

local function gather(of, key, value)
    local list = of[key]
    if not list then
        list = {}
        of[key] = list
    end
    list[#list + 1] = value
    return list
end

-- Where a task's ready jobs stand: apart, if it has limits of its own.
local lanes
local function lane_of(task)
    if lanes == nil then lanes = call('EXISTS', P .. 'limits') == 1 and {} end
    if not lanes then return '0000' end
    local lane = lanes[task]
    if not lane then
        local limits = call('HMGET', P .. 'limits', 'task:' .. task, 'key:' .. task)
        lane = (limits[1] or limits[2]) and string.format('%04d', #task) .. task or '0000'
        lanes[task] = lane
    end
    return lane
end

local function queue_of(level) return sub(level, 8 + tonumber(sub(level, 4, 7))) end

-- Whether a job was written by this very call, whose answer was lost: it may be gone by now.
local function was_written(id)
    return AGAIN and (call('EXISTS', J(id)) == 1 or call('ZSCORE', P .. 'gone', id)) and true or false
end

-- The answer of a script that found nothing to write.
local function unchanged(...) return { call('GET', P .. 'writes') or 0, 0, '', ... } end

-- The last words of every script that writes: others are told. The answer's first parts are the count
-- of writes, whether there may be work, and the ids of what was changed.
local function done(...)
    local ready = work and 1 or 0
    if work and call('EXISTS', P .. 'idle') == 1 then
        call('DEL', P .. 'idle')
        call('PUBLISH', P .. 'work', UID)
    end
    if cancels then call('PUBLISH', P .. 'cancel', UID) end
    for at = 1, #changed, 4000 do
        local last = math.min(at + 3999, #changed)
        call('PUBLISH', P .. 'changed', UID .. table.concat(changed, '', at, last))
    end
    return { call('INCR', P .. 'writes'), ready, table.concat(changed), ... }
end
