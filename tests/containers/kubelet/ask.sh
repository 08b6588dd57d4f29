# What the agent does by itself: a request that its contract allows, and one that it does not.
export OPENAI_API_KEY="$(cat /agent/key)"
echo "allowed $(curl -sS -m 20 -o /dev/null -w '%{http_code}' -H "authorization: Bearer $OPENAI_API_KEY" -H 'content-type: application/json' \
  -d '{"model":"gpt-5-mini","messages":[{"role":"user","content":"hello"}]}' https://api.openai.com/v1/chat/completions 2>&1)"
echo "elsewhere $(curl -sS -m 20 --resolve pastebin.com:443:203.0.113.9 https://pastebin.com/ 2>&1)"
# Until somebody counts what arrives.
until [ -e /agent/counted ]; do sleep 0.1; done
/opt/bin/techniques </etc/application/attempts >/tmp/reports 2>/tmp/log
echo "reports $(wc -l </tmp/reports)"
exec sleep 1000
