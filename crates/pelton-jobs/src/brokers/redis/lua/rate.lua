-- How often: limit.rs's rates.
local function rounded(number) return math.floor(number + 0.5) end

-- GCRA, as limit.rs has it: the bucket's time afterwards; or nothing, and when there is enough.
local function take_from(tat, rate, burst, cost)
    local next = math.max(tat or NOW, NOW) + rounded(cost / rate * 1e6)
    local allowed = next - rounded(burst / rate * 1e6)
    -- A microsecond of grace: times are whole ones.
    if allowed <= NOW + 1 then return next end
    return nil, allowed
end
