-- Signals of a job: a hash, in which each name has the number of its first signal (h<name>) and of the
-- next to come (t<name>), v<number>:<name> is one, and `n` how many there are.
local function first_signal(id, name)
    local numbers = call('HMGET', P .. 'm' .. id, 'h' .. name, 't' .. name)
    local first = tonumber(numbers[1] or 0)
    return first < tonumber(numbers[2] or 0) and first or nil
end
