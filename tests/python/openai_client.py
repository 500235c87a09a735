"""The official openai client against a running exchange; only base URL and key (both by environment) differ."""
import os

import openai
from openai import OpenAI

model = os.environ["ATOLL_MODEL"]
client = OpenAI()
question = [{"role": "user", "content": "What is the capital of France?"}]

answer = client.chat.completions.create(model=model, messages=question, temperature=0, max_tokens=24)
text = answer.choices[0].message.content
assert "Paris" in text, text
assert answer.choices[0].finish_reason in ("stop", "length"), answer
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
assert answer.usage.completion_tokens > 0
assert answer.model_extra["atoll"]["island"].startswith("isl_"), answer.model_extra

chunks = list(
    client.chat.completions.create(
        model=model,
        messages=question,
        temperature=0,
        max_completion_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert streamed == text, (streamed, text)
assert len({chunk.id for chunk in chunks}) == 1
assert chunks[0].choices[0].delta.role == "assistant"
assert chunks[-1].usage.total_tokens == answer.usage.total_tokens, chunks[-1]
assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")

assert model in [listed.id for listed in client.models.list()]
assert client.models.retrieve(model).id == model

for expected, call in [
    (openai.NotFoundError, lambda: client.chat.completions.create(model="no-such-model", messages=question)),
    (openai.BadRequestError, lambda: client.chat.completions.create(model=model, messages=[])),
    (openai.AuthenticationError, lambda: OpenAI(api_key="atoll_sk_wrong").models.list() and OpenAI(api_key="atoll_sk_wrong").chat.completions.create(model=model, messages=question)),
]:
    try:
        call()
    except expected as error:
        assert error.body and error.body["message"], error
    else:
        raise AssertionError(f"{expected.__name__} was expected")

# A client that leaves in the middle takes its job with it.
stream = client.chat.completions.create(model=model, messages=question, max_tokens=400, stream=True)
next(iter(stream))
stream.close()
print("ok")
