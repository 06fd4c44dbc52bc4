// Runs Kafka's own command line tools, many of them in one JVM. A line of standard input is a tool and its arguments, with tabs
// between them; after each, a line "done STATUS" comes out. Ends with its standard input.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import org.apache.kafka.common.utils.Exit;

public class KafkaTools {
    static class Ended extends RuntimeException {}

    static int status;

    public static void main(String[] none) throws Exception {
        // The first status counts: a tool takes our exception for a failure of its own.
        Exit.setExitProcedure((code, message) -> {
            if (status == -1) status = code;
            throw new Ended();
        });
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t");
            String[] args = Arrays.copyOfRange(words, 1, words.length);
            status = -1;
            try {
                switch (words[0]) {
                    case "kafka-acls.sh" -> org.apache.kafka.tools.AclCommand.main(args);
                    case "kafka-configs.sh" -> kafka.admin.ConfigCommand.main(args);
                    default -> status = 2;
                }
            } catch (Ended ended) {
            }
            System.out.println("done " + Math.max(status, 0));
        }
    }
}
