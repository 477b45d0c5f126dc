"""An answer as it comes, token by token. Run the kernel first: aios serve"""

from aios import Client

with Client(agent="stream") as client:
    for delta in client.chat(
        [{"role": "user", "content": "Count from one to ten."}], stream=True, temperature=0, max_tokens=60
    ):
        print(delta.content, end="", flush=True)
    print()
