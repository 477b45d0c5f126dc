"""Any framework that speaks the OpenAI protocol runs on the kernel unchanged: point its base URL here.

Needs `pip install openai`, and a running kernel: aios serve
"""

import os

from openai import OpenAI

url = os.environ.get("AIOS_BASE_URL", "http://127.0.0.1:8420")
client = OpenAI(base_url=f"{url}/v1", api_key="any-name-for-this-agent")
answer = client.chat.completions.create(
    model=client.models.list().data[0].id,
    messages=[{"role": "user", "content": "Name three colours."}],
    temperature=0,
    max_tokens=40,
)
print(answer.choices[0].message.content)
