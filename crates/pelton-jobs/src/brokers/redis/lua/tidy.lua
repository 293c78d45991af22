-- One batch of housekeeping. Whether there may be more.
local expired, lost = end_expired(), take_over()
-- Buckets that nobody took from for an hour are full again, and mean nothing.
local full = call('ZRANGEBYSCORE', P .. 'buckets', '-inf', text(NOW - 3600 * 1e6), 'LIMIT', 0, 500)
many('ZREM', P .. 'buckets', full, 500)
-- Nobody asks for these any more.
local forgotten = call('ZRANGEBYSCORE', P .. 'gone', '-inf', NOWS, 'LIMIT', 0, 500)
many('ZREM', P .. 'gone', forgotten, 500)
local old = call('ZRANGEBYSCORE', P .. 'purge', '-inf', NOWS, 'LIMIT', 0, 500)
for _, id in ipairs(old) do
    local job = load(id)
    if job and keeps_key(job.ku) then
        -- A record whose key is still taken stays for as long as it is.
        call('ZADD', P .. 'purge', job.ku, id)
    else
        if job then
            remove(job)
            -- Its writer may still ask whether it was written: a second try must not write it again.
            local age = NOW - tonumber(job.s:match('^%d+') or 0)
            if age < @{ASKED_AGAIN} then call('ZADD', P .. 'gone', text(NOW + @{ASKED_AGAIN}), id) end
        end
        call('ZREM', P .. 'purge', id)
    end
end
return done((expired or lost or #old == 500 or #forgotten == 500) and 1 or 0)
