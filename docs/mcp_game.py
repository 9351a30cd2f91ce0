#!/usr/bin/env python3
"""Plays a game of two rounds with `landfall mcp` and prints the transcript of docs/mcp.md. Needs no packages.

Usage: docs/mcp_game.py path/to/landfall [options of `landfall mcp`]
"""

import base64
import json
import subprocess
import sys


class Server:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.last = 0
        me = {"name": "mcp_game.py", "version": "1"}
        self.ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": me})
        self.send({"method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.last += 1
        self.send({"id": self.last, "method": method, "params": params})
        while True:
            answer = json.loads(self.process.stdout.readline())
            if answer.get("id") == self.last:
                return answer["result"] if "result" in answer else sys.exit(f"{method}: {answer['error']}")

    def call(self, tool, **arguments):
        """Calls a tool and prints the call and its result, with the size of a picture instead of its bytes."""
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})
        shown = {key: "…" if key == "base64" else value for key, value in arguments.items()}
        if "images" in arguments:
            shown["images"] = [{key: "…" for key in image} for image in arguments["images"]]
        print(f"→ {tool} {json.dumps(shown, ensure_ascii=False)}")
        pictures = [block["data"] for block in result["content"] if block["type"] == "image"]
        said = [block["text"] for block in result["content"] if block["type"] == "text"]
        for text in said:
            print(f"← {'error: ' if result.get('isError') else ''}{text}")
        for picture in pictures:
            print(f"← (a picture, {len(base64.b64decode(picture)) // 1000} kB of JPEG)")
        print()
        return result.get("structuredContent"), pictures


def main():
    server = Server([sys.argv[1], "mcp", *sys.argv[2:]])
    game = server.call("arena_new_game", rounds=2, seed=5)[0]["game"]
    server.call("arena_guess", game=game)
    for _ in range(2):
        seen, pictures = server.call("arena_look", game=game)
        if seen["kind"] == "panorama":
            for turn in (120, 240):
                heading = (seen["heading_deg"] + turn) % 360
                pictures += server.call("arena_look", game=game, heading_deg=heading)[1]
        else:
            server.call("arena_look", game=game, heading_deg=15, pitch_deg=-5, zoom=3)
        images = [{"base64": picture} for picture in pictures]
        # A player may ask anybody: here, Landfall's own model.
        found = server.ask("tools/call", {"name": "locate", "arguments": {"images": images, "one_place": True}})
        found = found["structuredContent"]["results"][0]
        print(f"  (`locate` says: {found['place']}, half of the probability within {found['radius_km']['p50']:.0f} km)\n")
        server.call("arena_pin", game=game, lat=round(found["lat"], 3), lng=round(found["lng"], 3))
        server.call("arena_guess", game=game)
    server.process.stdin.close()
    sys.exit(server.process.wait())


if __name__ == "__main__":
    main()
