"""One question to a model through its official client; one line of JSON about what the client made of the answer.

agent.py (chat|responses|anthropic) MODEL PROMPT [--stream] [--tool NAME] [--upload BYTES]
"""
import argparse
import json

import anthropic
import openai

parser = argparse.ArgumentParser()
parser.add_argument("api", choices=["chat", "responses", "anthropic"])
parser.add_argument("model")
parser.add_argument("prompt")
parser.add_argument("--stream", action="store_true")
parser.add_argument("--tool")
parser.add_argument("--upload", type=int, default=0)
args = parser.parse_args()

result = {"text": "", "thinking": "", "calls": [], "usage": None, "attempts": 0, "error": None}


def count(_request):
    result["attempts"] += 1


def client():
    """The client as its documentation makes it; only the attempts are counted."""
    module = anthropic if args.api == "anthropic" else openai
    made = module.Anthropic if args.api == "anthropic" else module.OpenAI
    return made(http_client=module.DefaultHttpxClient(event_hooks={"request": [count]}), timeout=30)


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
# A conversation that carries a large document before the question.
UPLOAD = "lorem ipsum " * (args.upload // 12)


def messages():
    turns = [{"role": "user", "content": UPLOAD}, {"role": "assistant", "content": "Noted."}] if UPLOAD else []
    return [*turns, {"role": "user", "content": args.prompt}]


def chat(ai):
    tool = {"type": "function", "function": {"name": args.tool, "parameters": SCHEMA}}
    more = {"tools": [tool]} if args.tool else {}
    if not args.stream:
        answer = ai.chat.completions.create(model=args.model, messages=messages(), **more)
        message = answer.choices[0].message
        result["text"] = message.content or ""
        result["calls"] = [[c.function.name, c.function.arguments] for c in message.tool_calls or []]
        result["usage"] = answer.usage and answer.usage.to_dict()
        return
    for chunk in ai.chat.completions.create(model=args.model, messages=messages(), stream=True, **more):
        if chunk.usage:
            result["usage"] = chunk.usage.to_dict()
        for choice in chunk.choices:
            result["text"] += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                if call.function.name:
                    result["calls"].append([call.function.name, ""])
                result["calls"][-1][1] += call.function.arguments or ""


def responses(ai):
    tool = {"type": "function", "name": args.tool, "parameters": SCHEMA}
    more = {"tools": [tool]} if args.tool else {}
    if args.stream:
        answer = None
        for event in ai.responses.create(model=args.model, input=messages(), stream=True, **more):
            if event.type == "response.output_text.delta":
                result["text"] += event.delta
            elif event.type == "response.reasoning_summary_text.delta":
                result["thinking"] += event.delta
            elif event.type == "response.completed":
                answer = event.response
            elif event.type in ("error", "response.failed"):
                raise RuntimeError(event.to_json())
    else:
        answer = ai.responses.create(model=args.model, input=messages(), **more)
        result["text"] = answer.output_text
    if answer is not None:
        result["calls"] = [[i.name, i.arguments] for i in answer.output if i.type == "function_call"]
        result["usage"] = answer.usage and answer.usage.to_dict()


def claude(ai):
    tool = {"name": args.tool, "input_schema": SCHEMA}
    more = {"tools": [tool]} if args.tool else {}
    ask = {"model": args.model, "max_tokens": 200, "messages": messages(), **more}
    if args.stream:
        with ai.messages.stream(**ask) as stream:
            for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    result["text"] += event.delta.text
                elif event.type == "content_block_delta" and event.delta.type == "thinking_delta":
                    result["thinking"] += event.delta.thinking
            answer = stream.get_final_message()
    else:
        answer = ai.messages.create(**ask)
        result["text"] = "".join(block.text for block in answer.content if block.type == "text")
    result["calls"] = [[b.name, json.dumps(b.input)] for b in answer.content if b.type == "tool_use"]
    result["usage"] = answer.usage.to_dict()


try:
    {"chat": chat, "responses": responses, "anthropic": claude}[args.api](client())
except Exception as error:
    result["error"] = {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "message": str(error),
    }
print(json.dumps(result))
