"""One question to the kernel. Run the kernel first: aios serve"""

from aios import Client

with Client(agent="hello") as client:
    answer = client.chat(
        [{"role": "user", "content": "What is the capital of France?"}], temperature=0, max_tokens=30
    )
    print(answer.choices[0].content)
    print(f"{answer.usage.prompt_tokens} prompt tokens, {answer.timings.total_s:.2f} s")
