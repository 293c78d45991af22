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
        local queue = queue_of(level)
        if (not wanted or wanted[queue]) and not unwanted[queue] then found[#found + 1] = level end
    end
    return found
end

-- When a lease might find something, if it finds nothing now. `opens`: when a rate lets through
-- what it holds back.
local function next_time(opens)
    local first = opens and text(opens) or ''
    for _, key in ipairs({ 'due', 'workers' }) do
        local time = call('ZRANGE', P .. key, 0, 0, 'WITHSCORES')[2]
        if time and (first == '' or tonumber(time) < tonumber(first)) then first = time end
    end
    return first
end
