-- What a job has done, and what was said to it. ARGV from 4: what, id, then `save`: token, step,
-- value; `take`: token, signal, step; `signal`: name, value, this call's number. Answers with 1, 0
-- or what forbids it; `take` with the value, if there is one.
local what, id = ARGV[4], ARGV[5]
local key, kept, KEPT_MAX = P .. 's' .. id, P .. 'm' .. id, 10000

local function holds()
    local job = call('HMGET', J(id), 'st', 'tk')
    return job[1] == '@{Running}' and job[2] == ARGV[6]
end

if what == 'save' then
    if not holds() then return unchanged(0) end
    if call('HEXISTS', key, ARGV[7]) == 0 and call('HLEN', key) >= KEPT_MAX then return unchanged('full') end
    call('HSETNX', key, ARGV[7], ARGV[8])
    return done(1)
end
if what == 'take' then
    local value = call('HGET', key, ARGV[8])
    if value or not holds() then return unchanged(value) end
    local name = ARGV[7]
    local first = first_signal(id, name)
    if not first then return unchanged(false) end
    local field = 'v' .. first .. ':' .. name
    value = call('HGET', kept, field)
    call('HDEL', kept, field)
    call('HINCRBY', kept, 'h' .. name, 1)
    call('HINCRBY', kept, 'n', -1)
    call('HSET', key, ARGV[8], value)
    return done(value)
end
local job = load(id)
if not job or job.st > '3' then return unchanged(0) end
local name, caller = ARGV[6], 'u' .. UID
-- Sent before, by a call whose answer was lost.
if AGAIN and call('HGET', kept, caller) == ARGV[8] then return unchanged(1) end
if tonumber(call('HGET', kept, 'n') or 0) >= KEPT_MAX then return unchanged('full') end
local number = call('HINCRBY', kept, 't' .. name, 1) - 1
call('HSET', kept, 'v' .. number .. ':' .. name, ARGV[7], caller, ARGV[8])
call('HINCRBY', kept, 'n', 1)
if job.st == '@{Scheduled}' and job.sg == name then
    call('HDEL', J(id), 'sg')
    call('HSET', J(id), 'd', NOWS, 'v', tonumber(job.v or 1) + 1)
    call('ZADD', P .. 'due', NOWS, id)
    changed[#changed + 1] = id
    work = true
end
return done(1)
