-- ARGV as in touch.lua, then what: add, renew or remove, and for renew the leases: id, token.
local what = ARGV[11]
if what == 'add' then
    WORKER = call('INCR', P .. 'last_worker')
    touch()
    -- Those who wait must know when its lease would be over.
    work = true
    return done(WORKER)
end
if what == 'renew' then
    touch()
    local lost = {}
    for at = 12, #ARGV, 2 do
        local job = call('HMGET', J(ARGV[at]), 'st', 'tk')
        if job[1] ~= '@{Running}' or job[2] ~= ARGV[at + 1] then lost[#lost + 1] = ARGV[at] end
    end
    return done(lost)
end
if call('EXISTS', P .. 'run' .. WORKER) == 1 then
    if call('EXISTS', P .. 'w' .. WORKER) == 1 then call('HSET', P .. 'w' .. WORKER, 'closed', 1) end
else
    call('ZREM', P .. 'workers', WORKER)
    call('DEL', P .. 'w' .. WORKER, P .. 'c' .. WORKER, P .. 'o' .. WORKER)
end
return done()
