-- What people ask. ARGV from 4: what, id, reason. Answers with 1, 0 or what forbids it.
local what, id, reason = ARGV[4], ARGV[5], ARGV[6]
local job = load(id)
if not job then return done(AGAIN and what == 'delete' and 1 or 0) end

local CANCEL = @{CancelAsked}

local function cancel()
    local to = CANCEL[job.st]
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

local RETRY_NOW, RETRY_WAITS = @{RetriedNow}, @{RetriedWaits}

local function retry()
    local pending = tonumber(job.pe or 0)
    local to = pending > 0 and RETRY_WAITS[job.st] or pending == 0 and RETRY_NOW[job.st]
    if not to then
        return AGAIN and job.st < '3' and job.d == NOWS and not job.at and 1 or 0
    end
    if job.k and call('HEXISTS', P .. 'keys', job.k) == 1 then return 'key' end
    if pending > 0 and call('HEXISTS', J(id), 'or') == 1 then return 'orphan' end
    call('HDEL', J(id), 'at', 'fa', 'lo', 'ca', 'x', 'sa', 'fi', 'pu', 'pr', 'me', 're', 'er', 'ft')
    if job.k then call('HSET', P .. 'keys', job.k, id) end
    job.d = NOWS
    move(job, to, { 'd', NOWS })
    return 1
end

local answer = 0
if what == 'cancel' then
    answer = cancel()
elseif what == 'retry' then
    answer = retry()
elseif job.st > '3' then
    remove(job)
    answer = 1
end
return done(answer)
