-- Whether a lease would find something now ('now'), or when. ARGV from 4: as for `levels`.
if #levels(4) > 0 then return { 'now' } end
call('SET', P .. 'idle', '1')
return { next_time() }
