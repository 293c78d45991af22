-- What all scripts share. KEYS[1]: the prefix of all keys, with the hash tag of a cluster in it.
-- ARGV: now (microseconds), who calls, whether this call may have been made before, then the
-- script's own. An event's name in braces after an at sign is state.rs's table of it, and with a colon
-- and a state's name one entry of that.
--
-- j<id>: a job. i<state><queue>: its jobs, by id. r<level><queue>: ready ones, by due time; levels:
-- those that are not empty, best first. due, expires, purge: by time. t<task>, g<group>: by id.
-- w<n>, run<n>, c<n>: a worker, its jobs, those to be cancelled. e<id>: edges to children;
-- a<id>: inputs by position. keys: unfinished jobs by key.
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

local function gather(of, key, value)
    local list = of[key]
    if not list then
        list = {}
        of[key] = list
    end
    list[#list + 1] = value
    return list
end

-- The last words of every script that writes: others are told, and the count of writes is the
-- answer's first part.
local function done(...)
    if work and call('EXISTS', P .. 'idle') == 1 then
        call('DEL', P .. 'idle')
        call('PUBLISH', P .. 'work', UID)
    end
    if cancels then call('PUBLISH', P .. 'cancel', UID) end
    for at = 1, #changed, 4000 do
        local last = math.min(at + 3999, #changed)
        call('PUBLISH', P .. 'changed', UID .. table.concat(changed, '', at, last))
    end
    return { call('INCR', P .. 'writes'), ... }
end
