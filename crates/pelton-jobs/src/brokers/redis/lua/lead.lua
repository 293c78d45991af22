-- ARGV from 4: who wants to lead, until when ('' to give it up), how many schedules at most.
-- Answers with the end of another's lead, or with what is due and the next tick after that.
local led = call('HMGET', P .. 'leader', 'name', 'until')
if ARGV[5] == '' then
    if led[1] == ARGV[4] then call('DEL', P .. 'leader') end
    return done()
end
if led[1] and led[1] ~= ARGV[4] and tonumber(led[2]) > NOW then return unchanged(led[2]) end
call('HSET', P .. 'leader', 'name', ARGV[4], 'until', ARGV[5])
local due = {}
local ticks = call('ZRANGEBYSCORE', P .. 'ticks', '-inf', NOWS, 'WITHSCORES', 'LIMIT', 0, ARGV[6])
for n = 1, #ticks, 2 do
    due[#due + 1] = { ticks[n], ticks[n + 1], call('HGET', P .. 'rules', ticks[n]), call('HGET', P .. 'schedules', ticks[n]) }
end
return done('', due)
