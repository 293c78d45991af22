-- What people ask. ARGV from 4: what, reason, then ids; or, for `purge`, a queue and how many jobs at
-- most. Answers with how many it was done to, or with what forbids it.
local what, reason = ARGV[4], ARGV[5]
local CANCEL, RETRY_NOW, RETRY_WAITS = @{CancelAsked}, @{RetriedNow}, @{RetriedWaits}

local function cancel(job)
    local to, id = CANCEL[job.st], job.id
    if not to then
        -- Cancelled by this very call, if it was: whose answer was lost.
        return AGAIN and job.st == '@{Cancelled}' and call('HGET', J(id), 'fi') == NOWS and 1 or 0
    end
    if job.st == '@{Running}' then
        call('HSET', J(id), 'ca', 1, 'v', tonumber(job.v or 1) + 1)
        if reason ~= '' then
            call('HSET', J(id), 're', reason)
        else
            call('HDEL', J(id), 're')
        end
        call('SADD', P .. 'c' .. job.w, id)
        changed[#changed + 1] = id
        cancels = true
        return 1
    end
    if reason ~= '' then
        finish(job, to, { 're', reason })
    else
        call('HDEL', J(id), 're')
        finish(job, to, {})
    end
    if job.ch then end_children(id, to) end
    return 1
end

-- The state of another job that has the key of this one, and until when that keeps it.
local function holder_of(job)
    local holder = job.k and call('HGET', P .. 'keys', job.k)
    if not holder or holder == job.id then return nil end
    local found = call('HMGET', J(holder), 'st', 'ku')
    return found[1], found[2]
end

local function retry(job)
    local id, pending = job.id, tonumber(job.pe or 0)
    local to = pending > 0 and RETRY_WAITS[job.st] or pending == 0 and RETRY_NOW[job.st]
    if not to then
        return AGAIN and job.st < '3' and job.d == NOWS and not job.at and 1 or 0
    end
    -- It was to follow a failure, and there was none.
    local reason = call('HGET', J(id), 're')
    if reason and sub(reason, 1, 12) == 'not needed: ' then return reason end
    local holder, kept = holder_of(job)
    if holder and holder < '4' then return 'key' end
    if pending > 0 and call('HEXISTS', J(id), 'or') == 1 then return 'orphan' end
    call('HDEL', J(id), 'at', 'fa', 'lo', 'ca', 'x', 'sa', 'fi', 'pr', 'me', 're', 'er', 'ft')
    if job.k then
        call('HSET', P .. 'keys', job.k, id)
        -- Where another's end keeps the key for a while, this one's does so now.
        if keeps_key(kept) and tonumber(kept) > tonumber(job.ku or 0) then
            call('HSET', J(id), 'ku', kept)
        end
    end
    job.d = NOWS
    move(job, to, { 'd', NOWS })
    return 1
end

local function act(id)
    local job = load(id)
    if not job then return AGAIN and what == 'delete' and 1 or 0 end
    if what == 'retry' then return retry(job) end
    if what ~= 'delete' then return cancel(job) end
    if job.st < '4' then return 0 end
    remove(job)
    return 1
end

local ids = {}
if what == 'purge' then
    local most = tonumber(ARGV[7])
    local places = {}
    for _, level in ipairs(call('ZRANGE', P .. 'levels', 0, -1)) do
        if queue_of(level) == ARGV[6] then insert(places, 'r' .. level) end
    end
    for _, state in ipairs({ '@{Scheduled}', '@{Waiting}' }) do insert(places, 'i' .. state .. ARGV[6]) end
    for _, place in ipairs(places) do
        if #ids < most then
            local found = call('ZRANGE', P .. place, 0, most - #ids - 1)
            for _, id in ipairs(found) do ids[#ids + 1] = id end
        end
    end
else
    for at = 6, #ARGV do ids[#ids + 1] = ARGV[at] end
end
local acted = 0
for _, id in ipairs(ids) do
    local answer = act(id)
    if type(answer) == 'string' then return unchanged(answer) end
    acted = acted + answer
end
return done(acted)
