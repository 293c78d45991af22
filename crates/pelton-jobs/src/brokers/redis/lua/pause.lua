-- ARGV from 4: queue, '1' to pause it.
call('SADD', P .. 'queues', ARGV[4])
if ARGV[5] == '1' then
    call('SADD', P .. 'paused', ARGV[4])
else
    call('SREM', P .. 'paused', ARGV[4])
    work = true
end
return done()
