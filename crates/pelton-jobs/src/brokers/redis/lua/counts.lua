-- How many jobs of a workflow are in each state, of the `ARGV[6]` that come from the `ARGV[5]`th on,
-- and how many these were. ARGV[4]: the workflow.
local ids = redis.call('ZRANGE', KEYS[1] .. 'g:' .. ARGV[4], ARGV[5], ARGV[5] + ARGV[6] - 1)
local counts = { 0, 0, 0, 0, 0, 0, 0 }
for _, id in ipairs(ids) do
    local state = tonumber(redis.call('HGET', KEYS[1] .. 'j' .. id, 'st') or nil)
    if state then counts[state + 1] = counts[state + 1] + 1 end
end
return { #ids, counts }
