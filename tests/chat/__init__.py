"""The websocket chat: protocol, ownership, streams that are cut and go on."""
