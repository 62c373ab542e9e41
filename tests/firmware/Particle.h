// As much of Device OS's wiring API as the test applications use, for a compiler on the host: enough to see that they
// compile and what they answer, written by hand from the API's documentation. Overloads are the real ones.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#define retained
#define STARTUP(code) static const int startup_ = ((code), 0)
#define SYSTEM_THREAD(state)
#define SYSTEM_MODE(mode)
#define PRODUCT_VERSION(version)
#define waitUntil(condition) while (!condition()) {}
#define SYSTEM_ERROR_NOT_SUPPORTED (-120)
#ifndef SYSTEM_VERSION
#define SYSTEM_VERSION 0x06020000
#endif

class String {
public:
	String(const char* text = ""): text_(text) {}
	String(const char* text, size_t size): text_(text, size) {}
	String(const std::string& text): text_(text) {}
	explicit String(int number): text_(std::to_string(number)) {}
	const char* c_str() const { return text_.c_str(); }
	operator const char*() const { return c_str(); }
	unsigned length() const { return text_.size(); }
	char charAt(unsigned index) const { return text_[index]; }
	long toInt() const { return atol(c_str()); }
	bool startsWith(const String& head) const { return text_.compare(0, head.text_.size(), head.text_) == 0; }
	bool operator==(const String& other) const { return text_ == other.text_; }
	bool operator==(const char* other) const { return text_ == other; }
	bool operator!=(const String& other) const { return text_ != other.text_; }
	String& operator+=(char c) { text_ += c; return *this; }
	String& operator+=(const String& other) { text_ += other.text_; return *this; }
	static String format(const char* format, ...) __attribute__((format(printf, 1, 2))) {
		char text[256];
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(text, sizeof(text), format, arguments);
		va_end(arguments);
		return String(text);
	}

private:
	std::string text_;
};

namespace spark {

class JSONString {
public:
	explicit JSONString(std::string text): text_(std::move(text)) {}
	const char* data() const { return text_.c_str(); }
	bool operator==(const char* other) const { return text_ == other; }
	explicit operator const char*() const { return data(); }

private:
	std::string text_;
};

class JSONValue {
public:
	enum Type { INVALID, NULL_VALUE, BOOL, NUMBER, STRING, ARRAY, OBJECT };
	JSONValue() = default;
	static JSONValue parseCopy(const char* json, size_t size);
	JSONString toString() const { return JSONString(text_); }
	bool isBool() const { return type_ == BOOL; }
	bool isNumber() const { return type_ == NUMBER; }
	bool isString() const { return type_ == STRING; }
	bool isObject() const { return type_ == OBJECT; }

private:
	friend class Parser;
	friend class JSONObjectIterator;
	Type type_ = INVALID;
	std::string text_;
	std::vector<std::pair<std::string, JSONValue>> members_;
};

class JSONObjectIterator {
public:
	explicit JSONObjectIterator(const JSONValue& object): object_(object) {}
	bool next() { return ++at_ <= object_.members_.size(); }
	JSONString name() const { return JSONString(object_.members_[at_ - 1].first); }
	JSONValue value() const { return object_.members_[at_ - 1].second; }

private:
	JSONValue object_;
	size_t at_ = 0;
};

class JSONWriter {
public:
	virtual ~JSONWriter() = default;
	JSONWriter& beginArray() { return open('['); }
	JSONWriter& endArray() { return close(']'); }
	JSONWriter& beginObject() { return open('{'); }
	JSONWriter& endObject() { return close('}'); }
	JSONWriter& name(const char* text) { item(); quote(text); write(":", 1); first_ = true; return *this; }
	JSONWriter& value(bool given) { return raw(given ? "true" : "false"); }
	JSONWriter& value(int given) { return raw(std::to_string(given)); }
	JSONWriter& value(unsigned given) { return raw(std::to_string(given)); }
	JSONWriter& value(const char* given) { item(); quote(given); return *this; }
	JSONWriter& value(const char* given, size_t size) { item(); quote(std::string(given, size)); return *this; }
	JSONWriter& value(const String& given) { item(); quote(given.c_str()); return *this; }

protected:
	virtual void write(const char* data, size_t size) = 0;
	virtual void printf(const char* format, ...) { (void)format; }

private:
	bool first_ = true;
	void item() { if (!first_) { write(",", 1); } first_ = false; }
	JSONWriter& raw(const std::string& text) { item(); write(text.data(), text.size()); return *this; }
	JSONWriter& open(char c) { item(); write(&c, 1); first_ = true; return *this; }
	JSONWriter& close(char c) { write(&c, 1); first_ = false; return *this; }
	void quote(const std::string& text) {
		std::string out = "\"";
		for (char c : text) {
			if (c == '"' || c == '\\') { out += '\\'; }
			out += c;
		}
		out += '"';
		write(out.data(), out.size());
	}
};

} // namespace spark

using namespace spark;

namespace particle {

template<typename T> class Future {
public:
	explicit Future(bool ok = true): ok_(ok) {}
	bool isDone() const { return true; }
	bool isSucceeded() const { return ok_; }
	T result() const { return ok_; }

private:
	bool ok_;
};

} // namespace particle

struct PublishFlags {
	explicit PublishFlags(int bits = 0): bits(bits) {}
	int bits;
	PublishFlags operator|(PublishFlags other) const { return PublishFlags(bits | other.bits); }
};
const PublishFlags PRIVATE(1), NO_ACK(2), WITH_ACK(8);

typedef void (*EventHandler)(const char*, const char*);
enum Spark_Subscription_Scope_TypeDef { MY_DEVICES, ALL_DEVICES };

struct CloudClass {
	bool online = true;
	std::vector<std::pair<std::string, EventHandler>> subscriptions;
	std::map<std::string, std::function<int(String)>> functions;
	std::map<std::string, std::function<std::string()>> variables;

	bool connected() { return online; }
	void connect() { online = true; }
	void disconnect() { online = false; }
	particle::Future<bool> publish(const char*, const char* data, int, PublishFlags, PublishFlags = PublishFlags()) {
		return particle::Future<bool>(online && std::string(data).size() <= 1024);
	}
	particle::Future<bool> publish(const char* name, const char* data = "") { return publish(name, data, 60, PRIVATE); }
	bool subscribe(const char* name, EventHandler handler) { subscriptions.emplace_back(name, handler); return true; }
	bool subscribe(const char* name, EventHandler handler, Spark_Subscription_Scope_TypeDef) {
		return subscribe(name, handler);
	}
	void unsubscribe() { subscriptions.clear(); }
	bool function(const char* name, std::function<int(String)> handler) { functions[name] = handler; return true; }
	bool variable(const char* name, const int& value) { return add(name, [&value] { return std::to_string(value); }); }
	bool variable(const char* name, const String& value) { return add(name, [&value] { return std::string(value.c_str()); }); }
	bool variable(const char* name, const std::function<bool()>& read) {
		return add(name, [read] { return std::string(read() ? "true" : "false"); });
	}
	bool variable(const char* name, const std::function<int()>& read) {
		return add(name, [read] { return std::to_string(read()); });
	}
	bool variable(const char* name, const std::function<double()>& read) {
		return add(name, [read] { return std::to_string(read()); });
	}
	bool variable(const char* name, const std::function<String()>& read) {
		return add(name, [read] { return std::string(read().c_str()); });
	}
	bool add(const char* name, std::function<std::string()> read) { variables[name] = read; return true; }
};
static CloudClass Particle;

enum HAL_Feature { FEATURE_RETAINED_MEMORY };
enum class SystemSleepMode { STOP, ULTRA_LOW_POWER, HIBERNATE };
struct SystemSleepConfiguration {
	long long ms = 0;
	SystemSleepConfiguration& mode(SystemSleepMode) { return *this; }
	SystemSleepConfiguration& duration(std::chrono::milliseconds given) { ms = given.count(); return *this; }
};
struct SystemClass {
	std::string done;
	void enableFeature(HAL_Feature) {}
	String version() { return "6.2.0"; }
	void reset() { done = "reset"; }
	void enterSafeMode() { done = "safe mode"; }
	void sleep(const SystemSleepConfiguration& config) { done = "sleep " + std::to_string(config.ms); }
};
static SystemClass System;

struct UsbSerial {
	std::string in, out;
	bool open = true;
	int room = 256;
	void begin() {}
	bool isConnected() { return open; }
	int availableForWrite() { return room; }
	int available() { return in.size(); }
	int read() { const char c = in[0]; in.erase(0, 1); return c; }
	size_t write(uint8_t byte) { out += (char)byte; return 1; }
	size_t write(const uint8_t* data, size_t size) { out.append((const char*)data, size); return size; }
	size_t printf(const char* format, ...) __attribute__((format(printf, 2, 3))) {
		char text[256];
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(text, sizeof(text), format, arguments);
		va_end(arguments);
		out += text;
		return out.size();
	}
};
static UsbSerial Serial;

inline uint32_t& clockMs() { static uint32_t now = 1000; return now; }
inline uint32_t millis() { return clockMs(); }

struct ctrl_request {
	uint16_t size, type;
	char* request_data;
	size_t request_size;
	char* reply_data;
	size_t reply_size;
};
static std::vector<char> replyBuffer;
static int replyResult;
inline int system_ctrl_alloc_reply_data(ctrl_request* request, size_t size, void*) {
	replyBuffer.assign(size, 0);
	request->reply_data = replyBuffer.data();
	request->reply_size = size;
	return 0;
}
typedef void (*ctrl_completion_handler_fn)(int, void*);
inline void system_ctrl_set_result(ctrl_request*, int result, ctrl_completion_handler_fn, void*, void*) {
	replyResult = result;
}
void ctrl_request_custom_handler(ctrl_request* request);
void setup();
void loop();
