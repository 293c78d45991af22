-- Attempts end. ARGV from 4: worker, processed?, then for each outcome: id, token, how, and two
-- values. Answers with the new states, and with `now` behind one that goes on at once; '' where the
-- lease was lost.
local WORKER = ARGV[4]
local settled, processed, failed = {}, 0, 0
local gone, arrived, freed, purge = {}, {}, {}, {}

local function succeed(id, token, result)
    local job
    if call('HLEN', J(id)) == 9 then
        -- The fields that each running job has, and no other.
        job = call('HMGET', J(id), 'st', 'tk', 's', 'v', 'w')
    else
        job = call('HMGET', J(id), 'st', 'tk', 's', 'v', 'w', 'k', 'ch', 're', 'ca', 'us')
    end
    if job[2] ~= token then return '' end
    if job[1] ~= '@{Running}' then
        -- Ended by this very outcome, in a call whose answer was lost.
        return AGAIN and job[1] == '@{Succeeded}' and job[1] or ''
    end
    local _, kept, task, queue = constants(job[3])
    local last = text(NOW + tonumber(kept))
    call('HSET', J(id), 'st', '@{Succeeded:Running}', 'fi', NOWS, 'rs', result, 'v', tonumber(job[4] or 1) + 1)
    if job[8] then call('HDEL', J(id), 're') end
    if job[9] then call('SREM', P .. 'c' .. job[5], id) end
    if job[6] and not keeps_key(call('HGET', J(id), 'ku')) and call('HGET', P .. 'keys', job[6]) == id then
        call('HDEL', P .. 'keys', job[6])
    end
    if job[10] then vacate(id, job[10], queue, task, call('HGET', J(id), 'lk')) end
    gone[queue] = (gone[queue] or 0) + 1
    local list = gather(arrived, queue, 0)
    list[#list + 1] = id
    gather(freed, job[5], id)
    purge[#purge + 1] = last
    purge[#purge + 1] = id
    changed[#changed + 1] = id
    if job[7] then release_children(id, result) end
    return '@{Succeeded:Running}'
end

local function end_attempt(id, token, how, one, two)
    local job = load(id)
    if not job or job.tk ~= token then return '' end
    if job.st ~= '@{Running}' then
        return AGAIN and call('HGET', J(id), 'ft') == token and job.st or ''
    end
    local set = { 'lo', 0, 'ft', token }
    local function note(name, value)
        insert(set, name)
        insert(set, value)
    end
    local to, woken
    if how == 'again' or how == 'dead' then note('er', two) end
    if how == 'dead' then
        to = '@{FailedForGood:Running}'
        note('fa', tonumber(job.fa or 0) + 1)
        note('re', one)
    elseif how == 'cancelled' or job.ca then
        to = '@{CancelDone:Running}'
        if how == 'cancelled' and one ~= '' then note('re', one) end
    elseif how == 'again' then
        to = '@{FailedAgain:Running}'
        note('fa', tonumber(job.fa or 0) + 1)
        note('d', one)
        job.d = one
    elseif how == 'suspend' then
        to = '@{Suspended:Running}'
        note('at', tonumber(job.at) - 1)
        if two ~= '' then
            woken = first_signal(id, two)
            if not woken then note('sg', two) end
        end
        job.d = woken and NOWS or one
        note('d', job.d)
    else
        to = '@{Released:Running}'
        note('at', tonumber(job.at) - 1)
    end
    local endings = { ['@{FailedForGood:Running}'] = 'failed', ['@{CancelDone:Running}'] = 'cancelled' }
    local ending = endings[to] or how == 'again' and 'failed'
    if ending then remember(job, ending, (how == 'again' or how == 'dead') and two) end
    if to < '4' then
        call('HDEL', J(id), 're')
        move(job, to, set)
    else
        finish(job, to, set, to == '@{Dead}' and @{DEAD_TTL} or 0)
        if job.ch then end_children(id, to) end
    end
    return woken and to .. ' now' or to
end

for at = 5, #ARGV, 5 do
    local id, token, how = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local state
    if how == 'success' then
        state = succeed(id, token, ARGV[at + 3])
    else
        state = end_attempt(id, token, how, ARGV[at + 3], ARGV[at + 4])
    end
    if state ~= '' and how ~= 'release' and how ~= 'suspend' then
        processed = processed + 1
        if how == 'again' or how == 'dead' then failed = failed + 1 end
    end
    settled[#settled + 1] = state
end
for queue, count in pairs(gone) do call('HINCRBY', P .. 'running', queue, -count) end
for queue, list in pairs(arrived) do many('ZADD', P .. 'i@{Succeeded}' .. queue, list, 4000) end
for worker, list in pairs(freed) do many('SREM', P .. 'run' .. worker, list, 4000) end
many('ZADD', P .. 'purge', purge, 4000)
if call('EXISTS', P .. 'w' .. WORKER) == 1 then
    if processed > 0 then call('HINCRBY', P .. 'w' .. WORKER, 'processed', processed) end
    if failed > 0 then call('HINCRBY', P .. 'w' .. WORKER, 'failed', failed) end
    call('HSET', P .. 'w' .. WORKER, 'seen', NOWS)
end
return done(settled)
