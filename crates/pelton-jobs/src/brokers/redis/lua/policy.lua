-- The number of a retry policy, which is added if it is new. ARGV from 4: the policy.
local number = call('HGET', P .. 'policies', ARGV[4])
if number then return unchanged(number) end
number = call('INCR', P .. 'last_policy')
call('HSET', P .. 'policies', ARGV[4], number)
return done(number)
