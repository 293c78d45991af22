-- A worker's sign of life. ARGV from 4: worker, lease until, name, hostname, pid, queues,
-- concurrency. One that was given up is there again, without its jobs.
local WORKER = ARGV[4]
local function touch()
    if call('HSET', P .. 'w' .. WORKER, 'seen', NOWS, 'until', ARGV[5]) > 0 then
        call('HSET', P .. 'w' .. WORKER, 'name', ARGV[6], 'host', ARGV[7], 'pid', ARGV[8], 'queues', ARGV[9],
            'concurrency', ARGV[10], 'started', NOWS)
    end
    call('ZADD', P .. 'workers', ARGV[5], WORKER)
end
