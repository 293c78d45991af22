-- The levels (priority and queue) that are not empty, best first, of the queues that are asked for
-- in ARGV from `at`: the number of those wanted (0: all), they, those not wanted.
local function levels(at)
    local wanted, unwanted = nil, {}
    local n = tonumber(ARGV[at])
    for index = at + 1, #ARGV do
        if index <= at + n then
            wanted = wanted or {}
            wanted[ARGV[index]] = true
        else
            unwanted[ARGV[index]] = true
        end
    end
    for _, queue in ipairs(call('SMEMBERS', P .. 'paused')) do unwanted[queue] = true end
    local found = {}
    for _, level in ipairs(call('ZRANGE', P .. 'levels', 0, -1)) do
        local queue = sub(level, 4)
        if (not wanted or wanted[queue]) and not unwanted[queue] then found[#found + 1] = level end
    end
    return found
end

-- When a lease might find something, if it finds nothing now.
local function next_time()
    local due = call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')[2]
    local lost = call('ZRANGE', P .. 'workers', 0, 0, 'WITHSCORES')[2]
    if not due or (lost and tonumber(lost) < tonumber(due)) then return lost or '' end
    return due
end
