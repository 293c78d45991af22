-- Posts the JSON given after "--" to wrk's URL; with none given, wrk's GET stays as it is.
function init(args)
  if args[1] then
    wrk.method = "POST"
    wrk.body = args[1]
    wrk.headers["content-type"] = "application/json"
  end
end
