// Runs an application on the host: a line of standard input is a payload of control request 10, answered by a line
// "RESULT REPLY". Lines that begin with '!' stand for what happens to a board.
#include "Particle.h"

#include APPLICATION

#include <iostream>

namespace spark {

class Parser {
public:
	explicit Parser(const std::string& json): json_(json) {}
	JSONValue whole() {
		JSONValue found = value();
		space();
		return ok_ && at_ == json_.size() ? found : JSONValue();
	}

private:
	const std::string& json_;
	size_t at_ = 0;
	bool ok_ = true;

	char next() const { return at_ < json_.size() ? json_[at_] : 0; }
	void space() { while (next() != 0 && strchr(" \t\r\n", next())) { ++at_; } }
	bool take(char c) { space(); if (next() != c) { return false; } ++at_; return true; }
	std::string text() {
		std::string out;
		if (!take('"')) { ok_ = false; }
		while (ok_ && next() != '"') {
			if (next() == '\\') { ++at_; }
			ok_ = next() != 0;
			out += json_[at_++];
		}
		++at_;
		return out;
	}
	JSONValue value() {
		JSONValue found;
		space();
		if (next() == '"') {
			found.type_ = JSONValue::STRING;
			found.text_ = text();
		} else if (take('{')) {
			found.type_ = JSONValue::OBJECT;
			while (ok_ && !take('}')) {
				if (!found.members_.empty() && !take(',')) { ok_ = false; }
				const std::string name = text();
				ok_ = ok_ && take(':');
				if (ok_) { found.members_.emplace_back(name, value()); }
			}
		} else if (take('[')) {
			found.type_ = JSONValue::ARRAY;
			for (bool first = true; ok_ && !take(']'); first = false) {
				if (!first && !take(',')) { ok_ = false; }
				if (ok_) { value(); }
			}
		} else {
			while (next() != 0 && !strchr(",]} \t\r\n", next())) { found.text_ += json_[at_++]; }
			found.type_ = found.text_ == "null" ? JSONValue::NULL_VALUE
					: found.text_ == "true" || found.text_ == "false" ? JSONValue::BOOL : JSONValue::NUMBER;
			if (found.text_ == "null") { found.text_ = ""; }
			ok_ = ok_ && at_ > 0 && json_[at_ - 1] != 0;
		}
		return found;
	}
};

JSONValue JSONValue::parseCopy(const char* json, size_t size) {
	const std::string text(json, size);
	return Parser(text).whole();
}

} // namespace spark

static std::string oneLine(const std::string& text) {
	std::string out;
	for (char c : text) {
		out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : std::string(1, c);
	}
	return out;
}

static std::string happen(const std::string& what, const std::string& name, const std::string& data) {
	if (what == "!online" || what == "!offline") {
		Particle.online = what == "!online";
	} else if (what == "!event") {
		for (auto& subscription : Particle.subscriptions) {
			subscription.second(name.c_str(), data.c_str());
		}
	} else if (what == "!call") {
		return std::to_string(Particle.functions.at(name)(String(data)));
	} else if (what == "!read") {
		return Particle.variables.at(name)();
	} else if (what == "!serial") {
		Serial.in += name + (data.empty() ? "" : " " + data) + "\n";
		loop();
	} else if (what == "!printed") {
		return oneLine(std::exchange(Serial.out, ""));
	} else if (what == "!port") {
		Serial.open = name == "open";
		Serial.room = data.empty() ? 256 : std::stoi(data);
		loop();
	} else if (what == "!later") {
		clockMs() += 1000;
		loop();
		return std::exchange(System.done, "");
	}
	return "";
}

int main() {
	setup();
	std::string input;
	while (std::getline(std::cin, input)) {
		if (input[0] == '!') {
			const size_t first = std::min(input.find(' '), input.size());
			const size_t second = std::min(input.find(' ', first + 1), input.size());
			const std::string name = first < input.size() ? input.substr(first + 1, second - first - 1) : "";
			std::cout << happen(input.substr(0, first), name, second < input.size() ? input.substr(second + 1) : "")
					<< std::endl;
			continue;
		}
		ctrl_request request{sizeof(ctrl_request), 10, &input[0], input.size(), nullptr, 0};
		ctrl_request_custom_handler(&request);
		std::cout << replyResult << ' ' << std::string(request.reply_data, request.reply_size) << std::endl;
	}
}
