-- A schedule's ticks become jobs, and the schedule moves on, unless somebody did that before. ARGV
-- from 4: leader, schedule, its tick, its next ('' for none), the newest tick that fires, then the
-- jobs as in workflow.lua, without keys. Answers with 1 if they were written.
local field, at = ARGV[5], 9
-- By the last of these jobs it is known whether they were written.
local last
while at <= #ARGV do
    last = ARGV[at]
    at = at + 9 + ARGV[at + 8]
end
local fired = call('HGET', P .. 'fired', field)
if AGAIN and last and fired and sub(fired, 1, 16) == last then return done(1) end
if call('HGET', P .. 'leader', 'name') ~= ARGV[4] then return unchanged(0) end
local tick = call('ZSCORE', P .. 'ticks', field)
if not tick or tonumber(tick) ~= tonumber(ARGV[6]) then return unchanged(0) end
if ARGV[7] == '' then
    call('ZREM', P .. 'ticks', field)
else
    call('ZADD', P .. 'ticks', ARGV[7], field)
end
if not last then return done(0) end
at = 9
while at <= #ARGV do at = write_template(at) end
call('HSET', P .. 'fired', field, last .. ARGV[8])
return done(1)
