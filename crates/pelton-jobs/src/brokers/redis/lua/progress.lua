-- ARGV from 4, for each report: id, token, fraction, whether there is a message, message.
for at = 4, #ARGV, 5 do
    local id = ARGV[at]
    local job = call('HMGET', J(id), 'st', 'tk', 'v')
    if job[1] == '@{Running}' and job[2] == ARGV[at + 1] then
        call('HSET', J(id), 'pr', ARGV[at + 2], 'v', tonumber(job[3] or 1) + 1)
        if ARGV[at + 3] == '1' then
            call('HSET', J(id), 'me', ARGV[at + 4])
        else
            call('HDEL', J(id), 'me')
        end
        changed[#changed + 1] = id
    end
end
return done()
