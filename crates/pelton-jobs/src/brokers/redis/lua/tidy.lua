-- One batch of housekeeping. Whether there may be more.
local expired, lost = end_expired(), take_over()
local old = call('ZRANGEBYSCORE', P .. 'purge', '-inf', NOWS, 'LIMIT', 0, 500)
for _, id in ipairs(old) do
    local job = load(id)
    if job then remove(job) end
    call('ZREM', P .. 'purge', id)
end
return done((expired or lost or #old == 500) and 1 or 0)
