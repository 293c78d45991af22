-- Whether a lease would find something now ('now'), or when. ARGV from 4: as for `levels`.
local found = false
pick(4, 1, 0, function() found = true end)
if found or work then return { 'now' } end
call('SET', P .. 'idle', '1')
return { next_time(opens_at) }
