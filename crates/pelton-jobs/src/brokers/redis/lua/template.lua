-- Writes a ready job of a schedule, which is at `at` in ARGV as workflow.lua has it, without a key.
-- Answers with where what follows it begins.
local function write_template(at)
    local id, fields = ARGV[at], at + 9
    local last = fields - 1 + ARGV[fields - 1]
    call('HSET', J(id), unpack(ARGV, fields, last))
    call('ZADD', P .. 't:' .. ARGV[at + 4], 0, id)
    if ARGV[at + 7] ~= '' then call('ZADD', P .. 'g:' .. ARGV[at + 7], 0, id) end
    call('SADD', P .. 'tasks', ARGV[at + 4])
    call('SADD', P .. 'queues', ARGV[at + 2])
    ready({ id = id, q = ARGV[at + 2], p = ARGV[at + 3], t = ARGV[at + 4] }, ARGV[at + 5])
    return last + 1
end
