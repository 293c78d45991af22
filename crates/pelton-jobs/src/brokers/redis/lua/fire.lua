-- A schedule's tick becomes a job, and the schedule moves on, unless somebody did that before.
-- ARGV from 4: leader, schedule, its tick, its next ('' for none), the tick that fires, then the
-- job as in workflow.lua, without a key, where there is one. Answers with 1 if it fired.
local field = ARGV[5]
local last = call('HGET', P .. 'fired', field)
local id = ARGV[9]
if AGAIN and id and last and sub(last, 1, 16) == id then return done(1) end
if call('HGET', P .. 'leader', 'name') ~= ARGV[4] then return done(0) end
local tick = call('ZSCORE', P .. 'ticks', field)
if not tick or tonumber(tick) ~= tonumber(ARGV[6]) then return done(0) end
if ARGV[7] == '' then
    call('ZREM', P .. 'ticks', field)
else
    call('ZADD', P .. 'ticks', ARGV[7], field)
end
if not id then return done(0) end
local job = { id = id, q = ARGV[11], p = sub(ARGV[12], 1, 3) }
call('HSET', J(id), unpack(ARGV, 18, 17 + ARGV[17]))
call('ZADD', P .. 'i' .. ARGV[10] .. job.q, 0, id)
call('ZADD', P .. 't' .. ARGV[13], 0, id)
if ARGV[16] ~= '' then call('ZADD', P .. 'g' .. ARGV[16], 0, id) end
call('SADD', P .. 'queues', job.q)
ready(job, ARGV[14])
call('HSET', P .. 'fired', field, id .. ARGV[8])
return done(1)
