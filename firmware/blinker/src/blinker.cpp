// A second, tiny application, for OTA and flash tests to switch to. Its twin for virtual boards is twin.py above.

#include "Particle.h"

#include <cctype>
#include <cstring>

#ifndef HIL_BUILD
#define HIL_BUILD "0000000000000000"
#endif
#ifndef HIL_VERSION
#define HIL_VERSION 1
#endif
#define HIL_TEXT_(value) #value
#define HIL_TEXT(value) HIL_TEXT_(value)

SYSTEM_THREAD(ENABLED);
SYSTEM_MODE(AUTOMATIC);

// The code below uses these two: what nothing refers to, the linker leaves out.
__attribute__((used)) static const char kImageName[] = "HIL-APP:blinker@" HIL_TEXT(HIL_VERSION) "\n";
__attribute__((used)) static const char kImageBuild[] = "HIL-BUILD:" HIL_BUILD "\n";

static String build() {
    return String(kImageBuild + sizeof("HIL-BUILD:") - 1, 16);
}

static int blink(String argument) {
    for (unsigned i = 0; i < argument.length(); ++i) {
        if (!isdigit(argument.charAt(i))) {
            return -1;
        }
    }
    return argument.toInt();
}

void ctrl_request_custom_handler(ctrl_request* request) {
    const String name(kImageName);
    if (!name.startsWith("HIL-APP:") || !request->request_data || !strstr(String(request->request_data, request->request_size), "\"info\"")) {
        system_ctrl_set_result(request, SYSTEM_ERROR_NOT_SUPPORTED, nullptr, nullptr, nullptr);
        return;
    }
    char reply[192];
    const int size = snprintf(reply, sizeof(reply),
            "{\"app\":\"blinker\",\"version\":%d,\"build\":\"%s\",\"os\":\"%s\",\"boots\":1,\"uptime\":%lu}",
            HIL_VERSION, build().c_str(), System.version().c_str(), (unsigned long)millis());
    const int code = system_ctrl_alloc_reply_data(request, size, nullptr);
    if (code == 0) {
        memcpy(request->reply_data, reply, size);
    }
    system_ctrl_set_result(request, code, nullptr, nullptr, nullptr);
}

void setup() {
    Particle.function("blink", blink);
    Serial.begin();
    Serial.printf("blinker: version %d build %s\r\n", HIL_VERSION, build().c_str());
}

void loop() {
}
